"""What people write by hand: a timm loop, then scikit-learn's LogisticRegressionCV."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

warnings.simplefilter("ignore")


def main(model, train, test):
    network = timm.create_model(model, pretrained=True, num_classes=0).eval()
    config = timm.data.resolve_data_config(network.pretrained_cfg)
    transform = timm.data.create_transform(**config, is_training=False)

    def features(paths):
        rows = []
        with torch.inference_mode():
            for start in range(0, len(paths), 32):
                images = [transform(Image.open(path).convert("RGB")) for path in paths[start : start + 32]]
                rows.append(network(torch.stack(images)).numpy())
        return np.concatenate(rows)

    classifier = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=np.logspace(-5, 1, 7), cv=5))
    classifier.fit(features([path for path, _ in train]), [label for _, label in train])
    return classifier.predict(features([path for path, _ in test])).tolist()


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(main(given["model"], given["train"], given["test"])))

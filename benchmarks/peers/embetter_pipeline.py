"""embetter's documented pipeline; with `eval`, its network is put into evaluation mode, which it omits."""

import json
import sys
import warnings
from pathlib import Path

from embetter.vision import ImageLoader, TimmEncoder
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

warnings.simplefilter("ignore")


def main(model, train, test, mode):
    encoder = TimmEncoder(name=model)
    if mode == "eval":
        encoder.model.eval()
    pipeline = make_pipeline(ImageLoader(), encoder, LogisticRegression(max_iter=1000))
    pipeline.fit([path for path, _ in train], [label for _, label in train])
    return pipeline.predict([path for path, _ in test]).tolist()


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(main(given["model"], given["train"], given["test"], sys.argv[2])))

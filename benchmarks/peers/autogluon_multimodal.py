"""AutoGluon's MultiModalPredictor with a time limit in seconds."""

import json
import sys
import tempfile
import warnings
from pathlib import Path

import pandas as pd
from autogluon.multimodal import MultiModalPredictor

warnings.simplefilter("ignore")


def main(model, train, test, seconds):
    with tempfile.TemporaryDirectory() as folder:
        predictor = MultiModalPredictor(label="label", path=folder, verbosity=0)
        predictor.fit(
            pd.DataFrame(train, columns=["image", "label"]),
            presets="medium_quality",
            time_limit=seconds,
            seed=0,
            hyperparameters={"model.names": ["timm_image"], "model.timm_image.checkpoint_name": model},
        )
        return [str(label) for label in predictor.predict(pd.DataFrame(test, columns=["image", "label"]))]


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(main(given["model"], given["train"], given["test"], float(sys.argv[2]))))

"""fastai's vision_learner: `frozen`, four epochs of the head; `fine_tune`, one of it and four of all."""

import json
import sys
import warnings
from pathlib import Path

import pandas as pd
from fastai.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, set_seed, vision_learner

warnings.simplefilter("ignore")


def main(model, train, test, mode):
    set_seed(0)
    table = pd.DataFrame(train, columns=["path", "label"])
    loaders = ImageDataLoaders.from_df(
        table,
        path="/",
        seed=0,
        bs=32,
        num_workers=2,
        item_tfms=Resize(256),
        batch_tfms=aug_transforms(size=224),
    )
    learner = vision_learner(loaders, model, metrics=accuracy)
    with learner.no_bar(), learner.no_logging():
        if mode == "frozen":
            learner.fit_one_cycle(4)
        else:
            learner.fine_tune(4)
        scores, _ = learner.get_preds(dl=loaders.test_dl([path for path, _ in test]))
    return [str(loaders.vocab[i]) for i in scores.argmax(dim=1)]


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(main(given["model"], given["train"], given["test"], sys.argv[2])))

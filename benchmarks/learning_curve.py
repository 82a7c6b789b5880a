"""Does the interval that `finetune curve` predicts from half of a data set hold the accuracy with all of it?

Half of the groups of each class are drawn, the curve is measured on them, and its prediction for the training
size of a cross-validation on the whole set is compared with that cross-validation's accuracy.

    python benchmarks/learning_curve.py demo photos/ more-photos/ --draws 10
"""

import argparse
import json
import sys
from dataclasses import replace

import numpy as np

from finetune.curve.curve import learning_curve
from finetune.curve.subsets import beginning, subset_plan
from finetune.data.split import folds
from finetune.experiment import Request, prepare
from finetune.heads.regularisation import NESTED_TOLERANCE
from finetune.methods import make_method


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="+", help="data sets, as for finetune --data")
    parser.add_argument("--draws", type=int, default=10, help="halves of each")
    parser.add_argument("--features", default="last", help="last, stages or auto")
    arguments = parser.parse_args()
    held = []
    for data in arguments.data:
        found = backtest(data, arguments.draws, arguments.features)
        held += found["held"]
        print(json.dumps({**found, "held": f"{sum(found['held'])} of {len(found['held'])}"}), flush=True)
    print(f"{sum(held)} of {len(held)} intervals held the accuracy with all images.")
    return 0 if sum(held) >= 0.8 * len(held) else 1


def backtest(data, draws, features):
    probe = make_method("probe", features=features)
    experiment = prepare(Request(data=data), methods=[probe])
    everything = np.arange(len(experiment.dataset))
    n_last = experiment.backbone.num_features if probe.features == "stages" else None
    whole = experiment.images(experiment.inputs(probe), everything, n_last)
    task = replace(experiment.task(probe), train=whole, folds=folds(whole.labels, 5, whole.groups, 0))
    truth, size = accuracy_with_all(probe, task)
    groups = np.arange(len(whole)) if whole.groups is None else whole.groups
    held, predicted, widths = [], [], []
    for draw in range(draws):
        half = beginning(whole.labels, groups, everything, 0.5, np.random.default_rng([1, draw]))
        more = learning_curve(replace(task, train=whole.subset(half)), probe, factor=size / len(half)).more
        held.append(bool(more.ci95[0] <= truth <= more.ci95[1]))
        predicted.append(more.accuracy)
        widths.append(more.ci95[1] - more.ci95[0])
        print(f"{data} {draw}: {more.accuracy:.3f} {more.ci95}, truth {truth:.3f}", file=sys.stderr)
    return {
        "data": data,
        "accuracy": round(truth, 4),
        "n": round(size),
        "held": held,
        "mean prediction": round(float(np.mean(predicted)), 4),
        "mean width": round(float(np.mean(widths)), 4),
    }


def accuracy_with_all(probe, task, repeats=4):
    """The cross-validated accuracy on the whole set, and the number of images that it trains on."""
    train = task.train
    plan = subset_plan(train.labels, folds(train.labels, 5, train.groups, 99, repeats), 1.0, train.groups)
    best = probe.paths(task, plan, NESTED_TOLERANCE).path().best()
    right = best.held_out[0].argmax(axis=1) == train.labels[plan.order(0)]
    return float(right.mean()), float(np.mean([len(rows) for rows in plan.trains]))


if __name__ == "__main__":
    sys.exit(main())

"""Last features, those of all stages, and the choice between them, on few training images.

    python benchmarks/features.py FOLDER [FOLDER ...] [--images 5 10 20] [--draws 6] [--strategy probe]
        [--model efficientnet_lite0] [--tta mirror] [--view whole] [--json]

Of each folder (or `demo`) the held-out images stay as they are; of the training images so many of each class
are drawn at random, and a classifier is trained on these alone, with --features last, stages and auto.
Printed are the mean accuracies on the held-out images, and in how many draws auto took the stages.
"""

import argparse
import json
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from finetune.data.plan import inner_folds
from finetune.experiment import Request, data_name, prepare
from finetune.methods import make_method

KINDS = ("last", "stages", "auto")


def draw(labels, n, rng):
    """Rows of `n` images of each class, or of all where there are fewer."""
    chosen = [rng.permutation(np.flatnonzero(labels == c))[:n] for c in range(labels.max() + 1)]
    return np.sort(np.concatenate(chosen))


def accuracies(task, held_out, strategy):
    """Held-out accuracy with each kind of features, and whether auto took the stages."""

    def accuracy(fitted):
        return float((fitted.decision_function(held_out).argmax(axis=1) == held_out.labels).mean())

    auto = make_method(strategy).fit(task, None)
    taken = auto.choice["features"]
    [other] = {"last", "stages"} - {taken}
    found = {taken: accuracy(auto), "auto": accuracy(auto)}
    found[other] = accuracy(make_method(strategy, features=other).fit(task, None))
    return found | {"took stages": float(taken == "stages")}


def measured(data, given):
    """Rows of the table for one folder."""
    request = Request(data, (given.model,), tta=given.tta, view=given.view)
    method = make_method(given.strategy)
    experiment = prepare(request, methods=[method])
    task, held_out = experiment.task(method), experiment.held_out(method)
    for n in given.images:
        draws = []
        for seed in range(given.draws):
            train = task.train.subset(draw(task.train.labels, n, np.random.default_rng([seed, n])))
            few = replace(task, train=train, folds=inner_folds(train.labels, train.groups, seed=seed))
            draws.append(accuracies(few, held_out, given.strategy))
        means = {key: float(np.mean([one[key] for one in draws])) for key in draws[0]}
        yield {"data": data_name(data), "images a class": n, **means}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--images", nargs="+", type=int, default=[5, 10, 20])
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--strategy", default="probe")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--tta", default="none")
    parser.add_argument("--view", default="crop")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = [row for data in given.data for row in measured(data, given)]
    gains = [row["auto"] - row["last"] for row in rows]
    summary = {"mean gain": float(np.mean(gains)), "least gain": min(gains)}
    if given.json:
        print(json.dumps({"rows": rows, **summary}, indent=1))
        return
    table = Table("data", "images a class", *KINDS, "took stages")
    for row in rows:
        values = (f"{row[kind]:.3f}" for kind in KINDS)
        table.add_row(row["data"], str(row["images a class"]), *values, f"{row['took stages']:.0%}")
    Console().print(table)
    print("auto minus last: " + ", ".join(f"{name} {value:+.3f}" for name, value in summary.items()))


if __name__ == "__main__":
    main()

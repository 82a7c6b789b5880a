"""A search beside random draws and beside unpruned trials, at an equal number of trials, in one process.

    python benchmarks/search.py --data FOLDER [--trials 30] [--seeds 5] [--json]

A probe's head with a hidden layer is searched (learning rate, L2, units, activation). Compared are the
best loss on the first fold, and the seconds.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from unittest.mock import patch

import optuna

from finetune.experiment import Request, prepare
from finetune.methods import make_method
from finetune.search import study
from finetune.search.heads import HeadTrainer
from finetune.strategies.probe import MLP_SPACE


class FirstFold(HeadTrainer):
    """The same without its default and without cross-validation: only draws are compared."""

    def __init__(self, task, given):
        super().__init__(task, given)
        self.defaults, self.n_finalists = [], 1

    def cross_validate(self, params, n_folds, first):
        return [first]


def as_it_is():
    return patch.object(study, "STARTUP", study.STARTUP)


def unpruned():
    return patch.object(study, "RUNGS", ())


def random_draws():
    def sampler(seed=None, n_startup_trials=0):
        return optuna.samplers.RandomSampler(seed=seed)

    return patch.object(optuna.samplers, "TPESampler", sampler)


KINDS = {"TPE, pruned": as_it_is, "TPE, unpruned": unpruned, "random, pruned": random_draws}


def main():
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--data", default="demo")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    method = make_method("probe")
    task = prepare(Request(given.data, (given.model,)), methods=[method]).task(method)
    result = {"trials": given.trials, "seeds": given.seeds}
    for name, kind in KINDS.items():
        best, seconds = [], []
        for seed in range(given.seeds):
            start = time.perf_counter()
            with kind():
                budget = study.Budget(given.trials)
                trials = study.run_trials(
                    FirstFold(replace(task, checkpoints=None), {}), MLP_SPACE, budget, seed, None
                )
            seconds.append(time.perf_counter() - start)
            best.append(trials[-1].loss)
        result[name] = {"best": best, "seconds": seconds}
    if given.json:
        print(json.dumps(result))
        return
    print(f"best loss of {given.trials} trials, and seconds; mean and deviation over {given.seeds} seeds")
    for name in KINDS:
        best, seconds = result[name]["best"], result[name]["seconds"]
        spread = statistics.stdev(best) if len(best) > 1 else 0.0
        print(f"{name:16} {statistics.mean(best):.4f} ± {spread:.4f}   {statistics.mean(seconds):.1f} s")


if __name__ == "__main__":
    main()

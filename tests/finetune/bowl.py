"""A search whose loss is known; run as a program, it is killed in the middle of its `n`-th training."""

import math
import os
import signal
import sys
from pathlib import Path

from finetune.heads.descent import Diverged
from finetune.search.study import Budget, run_trials
from finetune.search.trials import FoldResult
from finetune.space import LogUniform, OneOf

SPACE = {"lr": LogUniform(1e-4, 1.0), "kind": OneOf(("a", "b"))}


class Bowl:
    """The loss is least at one learning rate, and for one of two kinds; above 0.5 the training diverges."""

    n_finalists = 3

    def __init__(self, best=1e-2, interrupt_at=None, interrupt=lambda: None):
        self.defaults = [{}, {"lr": 0.3}]
        self.best, self.interrupt_at, self.interrupt = best, interrupt_at, interrupt
        self.calls = []

    def loss(self, params, fold):
        lr = params.get("lr", 0.4)
        return 0.1 + abs(math.log10(lr / self.best)) + 0.3 * (params.get("kind") == "a") + 0.01 * fold

    def count(self, params):
        self.calls.append(params)
        if len(self.calls) - 1 == self.interrupt_at:
            self.interrupt()

    def trial(self, params, watch):
        if params.get("lr", 0) > 0.5:
            self.count(params)
            raise Diverged
        for epoch in range(1, 9):
            stop = watch(epoch, 8, self.loss(params, 0) + 1 / epoch)
            if epoch == 2:  # what is reported for pruning is in the file already
                self.count(params)
            if stop:
                break
        return FoldResult(0, 10, self.loss(params, 0), [])

    def cross_validate(self, params, n_folds, first):
        self.count(params)
        return [first, *(FoldResult(i, 10, self.loss(params, i), []) for i in range(1, n_folds))]

    def n_final_folds(self, seconds_left, slowest):
        return 4 if seconds_left > 2 * slowest else 1


def searched(trainer=None, folder=None, seed=0, trials=30, minutes=None):
    return run_trials(trainer or Bowl(), SPACE, Budget(trials, minutes), seed, folder)


if __name__ == "__main__":
    searched(
        Bowl(interrupt_at=int(sys.argv[2]), interrupt=lambda: os.kill(os.getpid(), signal.SIGKILL)),
        Path(sys.argv[1]),
    )

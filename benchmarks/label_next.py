"""Do the images that `finetune label-next` chooses teach more than as many that are drawn at random?

From two labelled images a class, some rounds of labelling are played with the known labels; after each,
a linear classifier is fitted to what is labelled and judged on the held-out images.

    python benchmarks/label_next.py photos/ --rounds 10 --number 20 --seeds 5
"""

import argparse
import json
import sys

import numpy as np

from finetune.evaluation import softmax
from finetune.experiment import Request, prepare
from finetune.heads.linear import Problems, solve
from finetune.labelling.choose import choose

L2 = 0.1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", help="a labelled data set, as for finetune --data")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--number", type=int, default=20, help="images a round")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--candidates", type=float, nargs="+", default=[1, 2, 5], help="factors to try")
    arguments = parser.parse_args()
    experiment = prepare(Request(data=arguments.data))
    X, y = experiment.matrices[experiment.backbone.name], experiment.dataset.labels
    game = Game(X, y, experiment.split.train, experiment.split.test, arguments.rounds, arguments.number)
    ways = {"random": None, **{f"candidates x {factor:g}": factor for factor in arguments.candidates}}
    for name, factor in ways.items():
        curves = np.array([game.play(factor, seed) for seed in range(arguments.seeds)])
        print(
            json.dumps(
                {
                    "way": name,
                    "accuracy by round": curves.mean(axis=0).round(3).tolist(),
                    "mean over rounds, by seed": curves[:, 1:].mean(axis=1).round(3).tolist(),
                    "mean": round(float(curves[:, 1:].mean()), 4),
                }
            ),
            flush=True,
        )
    return 0


class Game:
    """Labelling, with labels that are known."""

    def __init__(self, X, y, train, test, rounds, number):
        self.X, self.y, self.train, self.test = X, y, train, test
        self.rounds, self.number = rounds, number

    def play(self, factor, seed):
        """Return the accuracy before and after each round; without a factor, images are drawn at random."""
        rng = np.random.default_rng(seed)
        labels = self.y[self.train]
        first = [rng.choice(self.train[labels == c], 2, replace=False) for c in np.unique(labels)]
        labelled, found = np.concatenate(first), []
        for turn in range(self.rounds + 1):
            head = self.fit(labelled)
            found.append(
                (head.decision_function(self.X[self.test]).argmax(axis=1) == self.y[self.test]).mean()
            )
            if turn < self.rounds:
                pool = np.setdiff1d(self.train, labelled)
                labelled = np.concatenate([labelled, pool[self.pick(head, pool, factor, rng)]])
        return found

    def pick(self, head, pool, factor, rng):
        if factor is None:
            return rng.choice(len(pool), self.number, replace=False)
        probabilities = softmax(head.decision_function(self.X[pool]))
        return choose(probabilities, self.X[pool], self.number, factor)

    def fit(self, rows):
        ones = np.ones((1, len(rows)), np.float32)
        problem = Problems(self.X[rows], self.y[rows], ones, int(self.y.max()) + 1)
        return problem.classifier(solve(problem, L2, tolerance=1e-3))


if __name__ == "__main__":
    sys.exit(main())

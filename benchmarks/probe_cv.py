"""The probe's cross-validation beside scikit-learn's LogisticRegressionCV, in one process run.

    python benchmarks/probe_cv.py --data FOLDER [--model efficientnet_lite0] [--repeats 5] [--json]

Both choose among 7 L2 strengths by 5-fold cross-validation on the same standardised features and folds.
The objective of the final fit is compared at one strength, both in float64.
"""

import argparse
import json
import statistics
import time

import numpy as np
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.preprocessing import StandardScaler

from finetune.data.read import read
from finetune.data.split import folds
from finetune.heads.linear import Problems, softmax_loss, solve
from zoo.backbone import load
from zoo.features.fill import compute
from zoo.features.spaces import BackboneSpace

STRENGTHS = [10.0, 3.2, 1.0, 0.32, 0.1, 0.032, 0.01]


def ours(X, y, pairs):
    """Cross-validated accuracy at each strength."""
    weights = np.zeros((len(pairs), len(y)), np.float32)
    for row, (train, _) in zip(weights, pairs, strict=True):
        row[train] = 1
    problems = Problems(X, y, weights, y.max() + 1)
    theta, accuracies = None, []
    for l2 in STRENGTHS:
        theta = solve(problems, l2, start=theta, tolerance=3e-4)
        scores = problems.scores(theta)
        right = [(scores[f][:, rows].argmax(0) == y[rows]).mean() for f, (_, rows) in enumerate(pairs)]
        accuracies.append(np.mean(right))
    return accuracies


def peer(X, y, pairs):
    """The same by LogisticRegressionCV, as a user would call it."""
    Z = StandardScaler().fit_transform(X)
    n = len(pairs[0][0])
    model = LogisticRegressionCV(Cs=[1 / (l2 * n) for l2 in STRENGTHS], cv=pairs, max_iter=1000)
    model.fit(Z, y)
    scores = model.scores_
    matrix = next(iter(scores.values())) if isinstance(scores, dict) else scores
    return np.asarray(matrix).reshape(len(pairs), -1, len(STRENGTHS))[:, 0].mean(axis=0)


def objective_gap(X, y, l2=0.1):
    """Relative excess of our final fit's objective over scikit-learn's, on the same rows."""
    problem = Problems(X, y, np.ones((1, len(y)), np.float32), y.max() + 1)
    mine = problem.objective(solve(problem, l2, tolerance=1e-5), l2, softmax_loss)[0][0]
    Z = ((X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)) / problem.scale[0]).astype(np.float64)
    theirs = LogisticRegression(C=1 / (l2 * len(y)), max_iter=5000, tol=1e-8).fit(Z, y)
    log_p = theirs.predict_log_proba(Z)[np.arange(len(y)), y]
    return mine / (-log_p.mean() + l2 / 2 * (theirs.coef_**2).sum()) - 1


def main():
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--data", default="demo")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    dataset = read(given.data)
    found = compute(dataset.paths, [BackboneSpace(load(given.model))])
    X, y = found.matrices[0], dataset.labels[found.kept]
    pairs = folds(y).pairs
    seconds, best = {"ours": [], "peer": []}, {}
    for _ in range(given.repeats):
        for name, run in (("ours", ours), ("peer", peer)):
            start = time.perf_counter()
            best[name] = float(np.max(run(X, y, pairs)))
            seconds[name].append(time.perf_counter() - start)
    result = {
        "features": list(X.shape),
        "classes": int(y.max() + 1),
        "seconds": {name: statistics.median(times) for name, times in seconds.items()},
        "range": {name: [min(times), max(times)] for name, times in seconds.items()},
        "ratio": statistics.median(p / o for o, p in zip(seconds["ours"], seconds["peer"], strict=True)),
        "best_cv_accuracy": best,
        "objective_excess": float(objective_gap(X, y)),
    }
    if given.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:18} {value}")


if __name__ == "__main__":
    main()

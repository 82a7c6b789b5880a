"""The choice of k, distance and weights beside scikit-learn's GridSearchCV, in one process run.

    python benchmarks/knn.py [--data FOLDER] [--rows 2062] [--features 1280] [--max-k 50] [--json]

Both try k = 1 .. max-k with L1, L2 and cosine distances by 5-fold cross-validation on the same features
and folds, with uniform votes; ours then does the same with votes by distance too, which the peer's grid
leaves out. Without --data the features are random classes rectified at 0, as a network's are.
GridSearchCV runs as a user would call it, brute force being its own choice at this width.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier

from finetune.data.read import read
from finetune.data.split import folds
from finetune.method import Images, Task
from finetune.methods import make_method
from zoo.backbone import load
from zoo.features.fill import compute
from zoo.features.spaces import BackboneSpace

METRICS = {"manhattan": "l1", "euclidean": "l2", "cosine": "cosine"}


def features(given):
    if given.data:
        dataset = read(given.data)
        found = compute(dataset.paths, [BackboneSpace(load("efficientnet_lite0"))])
        return found.matrices[0], dataset.labels[found.kept]
    rng = np.random.default_rng(0)
    y = np.arange(given.rows) % given.classes
    centres = 0.3 * rng.normal(size=(given.classes, given.features))
    X = np.maximum(rng.normal(size=(given.rows, given.features)) + centres[y], 0)
    return X.astype(np.float32), y


def ours(task, max_k, weights):
    start = time.perf_counter()
    lines = make_method("knn", max_k=max_k, weights=weights).fit(task, None).history
    seconds = time.perf_counter() - start
    return seconds, {(r["metric"], r["k"]): r["cv_accuracy"] for r in lines if r["weights"] == "uniform"}


def peer(task, max_k):
    start = time.perf_counter()
    search = GridSearchCV(
        KNeighborsClassifier(),
        {"metric": list(METRICS), "n_neighbors": list(range(1, max_k + 1))},
        cv=task.folds.pairs,
    ).fit(task.train.X, task.train.labels)
    seconds = time.perf_counter() - start
    results = zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True)
    return seconds, {(METRICS[p["metric"]], p["n_neighbors"]): score for p, score in results}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in (("rows", 2062), ("features", 1280), ("classes", 10), ("max-k", 50), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--data")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    X, y = features(given)
    task = Task(
        Images(tuple(Path(str(i)) for i in range(len(y))), y, X), folds(y), tuple(map(str, np.unique(y)))
    )
    runs = [ours(task, given.max_k, "uniform") for _ in range(given.repeats)]
    both = [ours(task, given.max_k, None)[0] for _ in range(given.repeats)]
    seconds, theirs = peer(task, given.max_k)
    median = float(np.median([run[0] for run in runs]))
    result = {
        "features": list(X.shape),
        "candidates": len(theirs),
        "seconds_ours": median,
        "seconds_ours_with_distance_votes": float(np.median(both)),
        "seconds_peer": seconds,
        "ratio": seconds / median,
        "largest_difference_in_cv_accuracy": max(abs(runs[0][1][key] - theirs[key]) for key in theirs),
        "best": {"ours": max(runs[0][1].values()), "peer": float(max(theirs.values()))},
    }
    if given.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:34} {value}")


if __name__ == "__main__":
    main()

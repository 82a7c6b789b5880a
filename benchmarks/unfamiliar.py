"""How well images unlike anything in training are detected, by six scores on the same features.

    python benchmarks/unfamiliar.py FOLDER [FOLDER ...] [--model efficientnet_lite0] [--json]

Each folder holds class folders. Each in turn is the training set: a fifth of its images is held out, and
  foreign    images are all those of the other folders;
  new class  every class in turn is left out of training, and its images should be detected.
A score is judged by its AUROC and by the share of images rejected at the threshold that rejects 5% of the
held-out images of the training set. For the score that finetune uses, `alarms` is the share of held-out
images that its own p-value rejects at 0.05, a threshold from the training images alone.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.special import logsumexp
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import zoo
from finetune.evaluation.unfamiliar import Unfamiliar, _nearest, _unit

SUFFIXES = {".jpg", ".jpeg", ".png"}
REPEATS = 3


def images(folder):
    """Photographs by class; a PNG beside a JPEG of the same name is a mask."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    photographs = {path.with_suffix("") for path in files if path.suffix.lower() != ".png"}
    files = [p for p in files if p.suffix.lower() != ".png" or p.with_suffix("") not in photographs]
    return files, np.array([path.parent.name for path in files])


def neighbour(k):
    return lambda X, y: lambda Z: _nearest(Z, _unit(X).astype(np.float16), k)


def mahalanobis(X, y):
    """Distance to the nearest class mean under one covariance (Lee et al. 2018, NeurIPS), shrunk."""
    means = {c: X[y == c].mean(axis=0) for c in np.unique(y)}
    covariance, _ = ledoit_wolf(X - np.stack([means[c] for c in y]), assume_centered=True)
    root = np.linalg.cholesky(np.linalg.inv(covariance))
    return lambda Z: np.min([(((Z - mean) @ root) ** 2).sum(axis=1) for mean in means.values()], axis=0)


def classifier(score):
    def fit(X, y):
        # The penalty is one that is near the best on all sets tried.
        model = make_pipeline(StandardScaler(), LogisticRegression(C=3e-3, max_iter=300, tol=1e-3)).fit(X, y)
        return lambda Z: score(_two_columns(model.decision_function(Z)))

    return fit


def _two_columns(logits):
    return logits if logits.ndim == 2 else np.stack([-logits / 2, logits / 2], axis=1)


SCORES = {
    "neighbour 1": neighbour(1),
    "neighbour 2": neighbour(2),
    "neighbour 5": neighbour(5),
    "max softmax": classifier(lambda z: -np.exp(z.max(axis=1) - logsumexp(z, axis=1))),
    "energy": classifier(lambda z: -logsumexp(z, axis=1)),
    "Mahalanobis": mahalanobis,
}


def judge(X, y, unlike, seed):
    """AUROC and share rejected of every set of images that should be detected."""
    train, held_out, y_train, _ = train_test_split(X, y, test_size=0.2, stratify=y, random_state=seed)
    rows = []
    for name, fit in SCORES.items():
        if name in ("max softmax", "energy") and len(np.unique(y_train)) < 2:
            continue  # one class is no classifier
        score = fit(train, y_train)
        known = score(held_out)
        threshold = np.quantile(known, 0.95)
        for other, Z in unlike.items():
            found = score(Z)
            auroc = roc_auc_score(np.repeat([0, 1], [len(known), len(found)]), np.r_[known, found])
            rows.append((other, name, auroc, np.mean(found > threshold)))
    alarms = np.mean(Unfamiliar.fit(train).predict(held_out) <= 0.05)
    return rows, float(alarms)


def study(name, data, seeds):
    """Foreign sets, and every class left out."""
    X, y = data[name]
    rows, alarms = [], []
    foreign = {other: Z for other, (Z, _) in data.items() if other != name}
    for seed in seeds:
        found, alarm = judge(X, y, foreign, seed)
        rows += found
        alarms.append(alarm)
    for left_out in np.unique(y):
        known = y != left_out
        found, _ = judge(X[known], y[known], {"new class": X[~known]}, seeds[0])
        rows += found
    result = {}
    for other in dict.fromkeys(row[0] for row in rows):
        result[other] = {
            score: {
                "auroc": float(np.mean([r[2] for r in rows if r[:2] == (other, score)])),
                "rejected": float(np.mean([r[3] for r in rows if r[:2] == (other, score)])),
            }
            for score in dict.fromkeys(row[1] for row in rows if row[0] == other)
        }
    return {"alarms": float(np.mean(alarms)), "unlike": result}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    data = {}
    for folder in given.folders:
        files, y = images(folder)
        data[folder.name] = zoo.extract(given.model, files).X, y
    result = {name: study(name, data, range(REPEATS)) for name in data}
    if given.json:
        print(json.dumps(result))
        return
    for name, study_ in result.items():
        print(f"\ntrained on {name}: alarms {study_['alarms']:.1%}")
        for other, scores in study_["unlike"].items():
            for score, found in scores.items():
                print(f"  {other:16} {score:12} AUROC {found['auroc']:.3f}  rejected {found['rejected']:.1%}")


if __name__ == "__main__":
    main()

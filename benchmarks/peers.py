"""Whole commands beside what a user would run instead, on the same weights and the same images.

    python benchmarks/peers.py --data FOLDER [--peers PYTHON] [--only probe logistic fastai-frozen …] [--json]

Everything runs in a process of its own, from starting Python to the predictions of the held-out images. Peers
are given the training images and the held-out ones of our split, and the folder of the same weights; their
programs are in benchmarks/peers. PYTHON is the interpreter of a virtual environment that has embetter, fastai
and AutoGluon; peers that it cannot import are left out. Ours begins with an empty cache ("first ever") and
runs a second time ("again").
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from finetune.evaluation.intervals import accuracy_interval
from finetune.experiment import Request, prepare
from zoo.engines.machine import machine, versions

PEERS = {
    "logistic": ("logistic.py",),
    "embetter": ("embetter_pipeline.py", "documented"),
    "embetter, eval()": ("embetter_pipeline.py", "eval"),
    "fastai, frozen, 4 epochs": ("fastai_learner.py", "frozen"),
    "fastai, fine_tune(4)": ("fastai_learner.py", "fine_tune"),
    "AutoGluon, 600 s": ("autogluon_multimodal.py", "600"),
}
OURS = {
    "probe": ("--strategy", "probe"),
    "auto, 3 minutes": ("auto", "--minutes", "3"),
}


def run_ours(name, data, cache, scratch):
    """Train with our command, and return its held-out accuracy as run.json has it."""
    out = scratch / f"{cache.name}-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "finetune", *OURS[name], "--data", data, "--out", str(out), "--json"]
    environment = {**os.environ, "ZOO_CACHE": str(cache)}
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    seconds = time.perf_counter() - start
    test = json.loads((out / "run.json").read_text())["test"]
    return {"seconds": seconds, "accuracy": test["accuracy"], "interval": test["ci95"]}


def run_peer(name, python, request, labels):
    """Train with a peer and compare its predictions with the labels; None where it is not installed."""
    program, *arguments = PEERS[name]
    script = Path(__file__).parent / "peers" / program
    start = time.perf_counter()
    done = subprocess.run(
        [python if name != "logistic" else sys.executable, script, request, *arguments],
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    predicted = json.loads(done.stdout.strip().splitlines()[-1])
    correct = np.array([a == b for a, b in zip(predicted, labels, strict=True)])
    interval = accuracy_interval(correct)
    return {"seconds": seconds, "accuracy": float(correct.mean()), "interval": list(interval.ci95)}


def split(data, model, folder):
    """Write the images of our split, with the weights' folder, for the peers."""
    experiment = prepare(Request(data=data, models=(model,)))
    classes = experiment.dataset.classes

    def rows(which):
        return [
            (str(experiment.dataset.paths[i].resolve()), classes[experiment.dataset.labels[i]]) for i in which
        ]

    request = {
        "model": f"local-dir:{experiment.backbone.folder}",
        "train": rows(experiment.split.train),
        "test": rows(experiment.split.test),
    }
    path = folder / "request.json"
    path.write_text(json.dumps(request))
    return path, [label for _, label in request["test"]]


def measure(given, scratch):
    results = {}
    request, labels = split(given.data, given.model, scratch)
    for name in OURS:
        if given.only and name not in given.only:
            continue
        results[f"{name}, first ever"] = run_ours(name, given.data, scratch / name, scratch)
        if name == "probe":
            results[f"{name}, again"] = run_ours(name, given.data, scratch / name, scratch)
    for name in PEERS:
        if given.only and name not in given.only:
            continue
        if result := run_peer(name, given.peers, request, labels):
            results[name] = result
    return results


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--only", nargs="+", choices=[*OURS, *PEERS])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(given, Path(folder))
    if given.json:
        print(json.dumps({"data": given.data, "results": results, "machine": {**machine(), **versions()}}))
        return
    table = Table("what", "seconds", "held out", "95% interval", title=given.data)
    for name, result in results.items():
        low, high = result["interval"]
        table.add_row(
            name, f"{result['seconds']:.1f}", f"{result['accuracy']:.3f}", f"{low:.3f} to {high:.3f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()

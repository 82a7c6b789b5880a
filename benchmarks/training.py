"""Training beside a plain timm loop: images a second, and time to the same accuracy, in one process run.

    python benchmarks/training.py --data FOLDER [--repeats 5] [--json]                speed
    python benchmarks/training.py --data FOLDER --time-to-accuracy 0.99 [--json]      time to an accuracy
    python benchmarks/training.py --data FOLDER --accuracy [--seeds 3] [--json]       accuracy by strategy

The plain loop is what a user would write: timm's network, its training transform, a DataLoader with two
workers, float32, AdamW. It runs in a process of its own, in turns with ours, for ours changes how the C
library keeps memory, which would help it as well. For last-layers it trains the same parameters as ours,
with the whole network run forward in each step. On a GPU both use it; --peer-amp is for timm's loop with amp.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import finetune
from finetune.data.read import read
from finetune.data.split import folds, hold_out
from finetune.method import Images, Task
from finetune.methods import make_method
from finetune.training import parts
from finetune.training.checkpoint import Checkpoint
from finetune.training.loop import train
from finetune.training.network import build
from zoo.backbone import load
from zoo.engines.memory import freed_memory_kept


class Plain(Dataset):
    """Images from files, through timm's transform, as a user would load them."""

    def __init__(self, paths, labels, config, training):
        self.paths, self.labels = paths, labels
        self.transform = timm.data.create_transform(**config, is_training=training)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        with Image.open(self.paths[i]) as image:
            return self.transform(image.convert("RGB")), int(self.labels[i])


class PlainLoop:
    """What a user would write."""

    def __init__(self, backbone, paths, labels, classes, trained=None, amp=False, rate=1e-3):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = timm.create_model(f"local-dir:{backbone.folder}", pretrained=True)
        self.model.reset_classifier(classes)
        self.config = timm.data.resolve_data_config({}, model=self.model)
        if trained is not None:
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(name in trained)
        self.model.to(self.device).train()
        self.amp = amp
        learned = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(learned, rate)
        self.loader = DataLoader(
            Plain(paths, labels, self.config, True), 32, shuffle=True, num_workers=2, drop_last=True
        )

    def steps(self, limit=None):
        """Train on some batches; return images a second, without the workers' start."""
        images, start = 0, None
        for i, (x, y) in enumerate(self.loader):
            if start is None:
                start = time.perf_counter()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                loss = F.cross_entropy(self.model(x.to(self.device)).float(), y.to(self.device))
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            images += len(y)
            if limit and i + 1 == limit:
                break
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return images / (time.perf_counter() - start)

    def accuracy(self, paths, labels):
        self.model.eval()
        loader = DataLoader(Plain(paths, labels, self.config, False), 32, num_workers=2)
        with torch.inference_mode():
            right = [(self.model(x.to(self.device)).argmax(1).cpu() == y) for x, y in loader]
        self.model.train()
        return float(torch.cat(right).float().mean())


class Data:
    """A split, as `finetune` makes it."""

    def __init__(self, given, seed=0):
        dataset = read(given.data)
        readable = [i for i, path in enumerate(dataset.paths) if path.suffix.lower() != ".gif"]
        split = hold_out(
            dataset.labels, dataset.splits, dataset.groups, seed=seed, splits_from=dataset.splits_from
        )
        keep = np.intersect1d(split.train, readable)
        self.classes = len(dataset.classes)
        self.train = [dataset.paths[i] for i in keep], dataset.labels[keep]
        self.test = [dataset.paths[i] for i in split.test], dataset.labels[split.test]


def ours(backbone, data, strategy, given):
    """A function that trains for an epoch and returns images a second."""
    paths, labels = data.train
    images = Images(tuple(paths), labels, np.zeros((len(paths), 1), np.float32))
    task = Task(
        images, folds(labels), tuple(map(str, range(data.classes))), precision=given.precision, log=print
    )
    own = {"num_views": 2} if strategy == "last-layers" else {"img_size": backbone.preprocess.input_size[0]}
    method = make_method(strategy, lr=1e-4, amp=given.amp, head_init="random", **own)
    bench, rows = method.bench(task, backbone), np.arange(len(paths))

    def epoch():
        found = train(bench.job, rows, bench.options, Checkpoint(), "", until=1)
        return found.log[-1]["images_per_second"]

    return epoch


def speed(given):
    """Images a second of both loops, in turns."""
    backbone, data = load(given.model), Data(given)
    rows = []
    for strategy in ("full", "last-layers"):
        epoch = ours(backbone, data, strategy, given)
        pairs = [(epoch(), by_plain_loop(strategy)) for _ in range(given.repeats)]
        rows.append(
            {
                "strategy": strategy,
                "images_per_second": statistics.median(a for a, _ in pairs),
                "plain": statistics.median(b for _, b in pairs),
                "ratio": statistics.median(a / b for a, b in pairs),
                "seconds_per_epoch": len(data.train[0]) / statistics.median(a for a, _ in pairs),
            }
        )
    return rows


def by_plain_loop(strategy):
    """Images a second of the plain loop, in a process of its own."""
    command = [sys.executable, *sys.argv, "--plain-only", strategy]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def plain_only(given):
    """What that process does."""
    backbone, data = load(given.model), Data(given)
    network = build(backbone, data.classes, 0)
    trained = parts.last_stages(network, 1) if given.plain_only == "last-layers" else None
    print(PlainLoop(backbone, *data.train, data.classes, trained, given.peer_amp).steps(given.steps))


def time_to_accuracy(given):
    """Seconds from start to an accuracy on the held-out images: our whole command, and the plain loop.

    Ours includes choosing the learning rate; the plain loop is given a good one, and is evaluated on the
    held-out images after each epoch, for which no time is counted.
    """
    backbone, data = load(given.model), Data(given)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = finetune.fit(given.data, given.model, "full", out=Path(folder) / "run", log=print)
        mine = {"seconds": time.perf_counter() - start, "accuracy": run.test.accuracy}
    # In this process, where it profits from the memory that ours made the C library keep.
    plain = PlainLoop(backbone, *data.train, data.classes, amp=given.peer_amp)
    seconds, history = 0.0, []
    while seconds < given.patience and (not history or history[-1][1] < given.time_to_accuracy):
        start = time.perf_counter()
        plain.steps()
        seconds += time.perf_counter() - start
        history.append((round(seconds, 1), plain.accuracy(*data.test)))
        print(f"plain loop: {history[-1]}", flush=True)
    reached = history[-1][1] >= given.time_to_accuracy
    return [{"ours": mine, "plain": history, "plain_reached": reached, "ratio": seconds / mine["seconds"]}]


def accuracy(given):
    """Held-out accuracy of each strategy, over seeds."""
    rows = []
    for strategy in ("probe", "last-layers", "full"):
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                run = finetune.fit(
                    given.data, given.model, strategy, seed=seed, out=Path(folder) / "run",
                    precision=given.precision, **({} if strategy == "probe" else {"amp": given.amp}),
                )  # fmt: skip
            low, high = run.test.ci95
            rows.append(
                {
                    "strategy": strategy,
                    "seed": seed,
                    "accuracy": run.test.accuracy,
                    "interval": f"{low:.4f}-{high:.4f}",
                    "log_loss": run.test.log_loss,
                    "alpha": run.choice.get("alpha"),
                    "seconds": run.seconds["total"],
                }
            )
            print(rows[-1], flush=True)
    return rows


def main():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="batches that the plain loop is timed on")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--time-to-accuracy", type=float)
    parser.add_argument(
        "--patience", type=float, default=1500, help="seconds until the plain loop is stopped"
    )
    parser.add_argument("--plain-only", help=argparse.SUPPRESS)
    parser.add_argument("--amp", action="store_true", help="train in bfloat16")
    parser.add_argument("--peer-amp", action="store_true", help="let the plain loop use bfloat16 autocast")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.plain_only:
        plain_only(given)
        return
    with freed_memory_kept():
        if given.accuracy:
            rows = accuracy(given)
        elif given.time_to_accuracy:
            rows = time_to_accuracy(given)
        else:
            rows = speed(given)
    for row in rows:
        print(json.dumps(row) if given.json else "  ".join(f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()

"""Engines beside timm as it comes, computing only, in one process run.

    python benchmarks/engines.py [--model efficientnet_lite0] [--images FOLDER] [--repeats 5] [--json]
    python benchmarks/engines.py --model resnet50 --random

The peer is what a user would write: timm.create_model(...).eval(), inference_mode, float32 images of
(32, 3, height, width). All take turns batch by batch, and the median is printed. The cosine is the
worst image's, against the peer's features. Random weights run as fast as trained ones; what their cosine
says of bf16 is little.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from zoo.backbone import load
from zoo.engines import BATCH, ENGINES, EngineError, Readout, build
from zoo.engines.bf16 import worst_cosine
from zoo.engines.machine import machine
from zoo.engines.notes import versions
from zoo.engines.photographs import photographs
from zoo.images import open_image

#: GFLOP/s that a 3 x 3 convolution through oneDNN reached on the 2-core machine of docs/performance.md.
PEAK = {"fp32": 450, "bf16": 975}
PEER = ("timm eager", "fp32")


def random_folder(architecture, into):
    """A network with random weights in the layout of timm's local-dir."""
    torch.manual_seed(0)
    model = timm.create_model(architecture, pretrained=False)
    timm.models.save_for_hf(model, into, safe_serialization=True)
    return f"local-dir:{into}"


def pixels_of(backbone, folder):
    """Images of a folder, or else the engines' own photographs."""
    if folder is None:
        return photographs(backbone.preprocess)
    suffixes = (".jpg", ".jpeg", ".png")
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in suffixes)
    return np.stack([backbone.preprocess(open_image(path)) for path in paths])


class Eager:
    """timm's network with images that were normalised before."""

    def __init__(self, backbone):
        self.model = timm.create_model(f"local-dir:{backbone.folder}", pretrained=True, num_classes=0).eval()
        self.mean, self.std = (
            torch.tensor(values).view(1, 3, 1, 1)
            for values in (backbone.preprocess.mean, backbone.preprocess.std)
        )

    def prepare(self, batch):
        images = torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()
        return (images / 255 - self.mean) / self.std

    def __call__(self, images):
        with torch.inference_mode():
            return self.model(images).numpy()


def engines_of(backbone):
    """Every engine and precision that can be had here, and which `auto` takes, told on stderr."""
    made = {}
    for precision in ("fp32", "bf16"):
        for engine in ENGINES:
            try:
                made[engine, precision] = build(backbone, engine, precision)
            except EngineError as error:
                print(f"{engine} {precision}: {error}")
    chosen = {p: build(backbone, "auto", p, n_images=10**6, say=print).name for p in ("fp32", "bf16")}
    return made, chosen


def rows_of(run, pixels):
    """Run over all pixels, batch by batch; the last is padded."""
    padded = np.concatenate([pixels, np.repeat(pixels[:1], -len(pixels) % BATCH, axis=0)])
    rows = [run(padded[i : i + BATCH]) for i in range(0, len(padded), BATCH)]
    return np.concatenate(rows)[: len(pixels)]


def macs(model, size):
    """Multiply-adds of convolutions and linear layers for one image."""
    counts = []

    def count(module, given, output):
        per_output = module.weight[0].numel()
        counts.append(output.numel() * per_output)

    hooks = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.inference_mode():
        model(torch.zeros(1, 3, *size))
    for hook in hooks:
        hook.remove()
    return sum(counts)


def seconds_each(runners, repeats):
    """Median seconds a batch of each, taking turns."""
    taken = {key: [] for key in runners}
    for turn in range(repeats + 1):  # the first turn warms up
        for key, run in runners.items():
            start = time.perf_counter()
            run()
            if turn:
                taken[key].append(time.perf_counter() - start)
    return {key: statistics.median(values) for key, values in taken.items()}


def measure(backbone, pixels, repeats):
    eager = Eager(backbone)
    made, chosen = engines_of(backbone)
    wanted = rows_of(lambda batch: eager(eager.prepare(batch)), pixels)
    batch = np.resize(pixels, (BATCH, *pixels.shape[1:]))
    images = eager.prepare(batch)
    runners = {PEER: lambda: eager(images)}
    runners |= {key: lambda run=engine: run(batch) for key, engine in made.items()}
    seconds = seconds_each(runners, repeats)
    gflops = 2 * macs(eager.model, backbone.preprocess.input_size) / 1e9
    results = []
    for (engine, precision), taken in seconds.items():
        got = wanted if (engine, precision) == PEER else rows_of(made[engine, precision], pixels)
        rate = BATCH / taken
        results.append(
            {
                "engine": engine,
                "precision": precision,
                "auto": chosen[precision] == engine,
                "images_per_second": round(rate, 1),
                "ratio": round(seconds[PEER] / taken, 2),
                "worst_cosine": round(worst_cosine(backbone, Readout(), got, wanted), 6),
                "gflops": round(rate * gflops),
                "share": round(rate * gflops / PEAK[precision], 3),
            }
        )
    return results


def table(results, title):
    shown = Table(title=title)
    for heading in ("engine", "precision", "images/s", "x timm eager", "worst cosine", "GFLOP/s", "of peak"):
        shown.add_column(heading, justify="left" if heading in ("engine", "precision") else "right")
    for row in results:
        shown.add_row(
            row["engine"] + (" (auto)" if row["auto"] else ""),
            row["precision"],
            f"{row['images_per_second']:.0f}",
            f"{row['ratio']:.1f}",
            f"{row['worst_cosine']:.5f}",
            f"{row['gflops']}",
            f"{row['share']:.0%}",
        )
    return shown


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--random", action="store_true", help="random weights: --model is timm's name")
    parser.add_argument(
        "--images", help="folder of images to compare on; by default crops of two photographs"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        backbone = load(random_folder(given.model, folder) if given.random else given.model)
        pixels = pixels_of(backbone, given.images)
        results = measure(backbone, pixels, given.repeats)
    about = {**machine(), **versions("torch", "timm", "openvino", "onnxruntime"), "images": len(pixels)}
    if given.json:
        print(json.dumps({"model": given.model, **about, "results": results}, indent=1))
    else:
        title = f"{given.model}, batch {BATCH}, {about['processor']}, {about['cores']} cores"
        Console().print(table(results, title))
        print(", ".join(f"{name} {value}" for name, value in about.items()))


if __name__ == "__main__":
    main()

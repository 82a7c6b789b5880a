"""Engines beside timm as it comes, computing only, in one process run.

    python benchmarks/engines.py [--model efficientnet_lite0] [--images FOLDER] [--repeats 5] [--json]
        [--precision int8] [--features last stages]
    python benchmarks/engines.py --model resnet50 --random

The peer is what a user would write: timm.create_model(...).eval(), inference_mode, float32 images of
(32, 3, height, width). It runs in a process of its own; all take turns batch by batch, and the median is
printed. The cosine is the worst image's, against the peer's features. Random weights run as fast as
trained ones; their cosine says little of bf16. --features last stages times a pass that also reads the
average and maximum of every stage; its cosine is that of the last features in it.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from zoo.backbone import load
from zoo.engines import BATCH, ENGINES, EngineError, build, taps_of
from zoo.engines.contract import offers
from zoo.engines.machine import machine, versions
from zoo.engines.photographs import photographs
from zoo.engines.precisions import worst_cosine
from zoo.images.decode import open_image

#: GFLOP/s that a 3 x 3 convolution through oneDNN reached on the 2-core machine of docs/performance.md.
#: Of int8 it was not measured.
PEAK = {"fp32": 450, "bf16": 975, "int8": None}
PEER = ("timm eager", "fp32", "last")


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


def eager(connection, folder, mean, std):
    """The peer, in a process of its own: answers pixels with seconds and features.

    Of its own, because other engines' memory would change its speed.
    """
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    while (batch := connection.recv()) is not None:
        images = (torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous() / 255 - mean) / std
        with torch.inference_mode():
            start = time.perf_counter()
            features = model(images)
            taken = time.perf_counter() - start
        connection.send((taken, features.numpy()))


@contextmanager
def peer_of(backbone):
    """A function from pixels to (seconds, features), run by the peer."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    given = (theirs, str(backbone.folder), backbone.preprocess.mean, backbone.preprocess.std)
    process = context.Process(target=eager, args=given)
    process.start()

    def run(batch):
        ours.send(batch)
        return ours.recv()

    try:
        yield run
    finally:
        ours.send(None)
        process.join()


def tell(line):
    print(line, file=sys.stderr)


def engines_of(backbone, precisions, readings):
    """Every engine and precision that is available here, and which `auto` takes."""
    made = {}
    for precision in precisions:
        for engine in ENGINES:
            try:
                if offers(engine, precision):
                    for features in readings:
                        taps = tuple(taps_of(backbone, features).values())
                        made[engine, precision, features] = build(backbone, engine, precision, taps=taps)
            except EngineError as error:
                tell(f"{engine} {precision}: {error}")
    available = {precision for _, precision, _ in made}
    chosen = {p: build(backbone, "auto", p, n_images=10**6, log=tell).name for p in available}
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


def timed(run, batch):
    start = time.perf_counter()
    features = run(batch)
    return time.perf_counter() - start, features


def seconds_each(runners, batch, repeats):
    """Median seconds a batch of each, taking turns."""
    taken = {key: [] for key in runners}
    for turn in range(repeats + 1):  # the first turn warms up
        for key, run in runners.items():
            seconds = run(batch)[0]
            if turn:
                taken[key].append(seconds)
    return {key: statistics.median(values) for key, values in taken.items()}


def measure(backbone, pixels, repeats, precisions, readings):
    made, chosen = engines_of(backbone, precisions, readings)
    runners = {key: partial(timed, engine) for key, engine in made.items()}
    batch = np.resize(pixels, (BATCH, *pixels.shape[1:]))
    with peer_of(backbone) as peer:
        runners = {PEER: peer, **runners}
        seconds = seconds_each(runners, batch, repeats)
        features = {key: rows_of(lambda part, run=run: run(part)[1], pixels) for key, run in runners.items()}
    gflops = 2 * macs(backbone.module, backbone.preprocess.input_size) / 1e9
    results = []
    for (engine, precision, reading), taken in seconds.items():
        rate = BATCH / taken
        last = features[engine, precision, reading][:, : backbone.num_features]
        cosine = worst_cosine([last], [features[PEER]])
        results.append(
            {
                "engine": engine,
                "precision": precision,
                "features": reading,
                "auto": chosen.get(precision) == engine,
                "images_per_second": round(rate, 1),
                "ratio": round(seconds[PEER] / taken, 2),
                "worst_cosine": round(cosine, 6),
                "gflops": round(rate * gflops),
                "share": PEAK[precision] and round(rate * gflops / PEAK[precision], 3),
            }
        )
    return results


def table(results, title):
    shown = Table(title=title)
    for heading in (
        "engine",
        "precision",
        "features",
        "images/s",
        "x timm eager",
        "worst cosine",
        "GFLOP/s",
        "of peak",
    ):
        shown.add_column(
            heading, justify="left" if heading in ("engine", "precision", "features") else "right"
        )
    for row in results:
        shown.add_row(
            row["engine"] + (" (auto)" if row["auto"] else ""),
            row["precision"],
            row["features"],
            f"{row['images_per_second']:.0f}",
            f"{row['ratio']:.1f}",
            f"{row['worst_cosine']:.5f}",
            f"{row['gflops']}",
            f"{row['share']:.0%}" if row["share"] else "",
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
    parser.add_argument(
        "--precision",
        action="append",
        choices=list(PEAK),
        help="may be repeated; by default fp32 and bf16",
    )
    parser.add_argument("--features", nargs="+", default=["last"], choices=["last", "stages"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        backbone = load(random_folder(given.model, folder) if given.random else given.model)
        pixels = pixels_of(backbone, given.images)
        results = measure(
            backbone, pixels, given.repeats, given.precision or ["fp32", "bf16"], given.features
        )
    about = {**machine(), **versions("torch", "timm", "openvino", "onnxruntime"), "images": len(pixels)}
    if given.json:
        print(json.dumps({"model": given.model, **about, "results": results}, indent=1))
    else:
        title = f"{given.model}, batch {BATCH}, {about['processor']}, {about['cores']} cores"
        Console().print(table(results, title))
        print(", ".join(f"{name} {value}" for name, value in about.items()))


if __name__ == "__main__":
    main()

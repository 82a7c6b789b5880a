"""An exported ONNX file beside timm's own ONNX export of the same network, and beside our engines.

    python benchmarks/export.py RUN [--repeats 9] [--json]

RUN is a run whose model timm opens: a probe on last features, last-layers or full. The peer is what a user of
timm would write: timm.utils.onnx_export, then ONNX Runtime on float32 images of (n, 3, height, width), which
are normalised in NumPy. All take turns batch by batch on the same images in one process, computing only; the
median is printed.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
from rich.console import Console
from rich.table import Table
from timm.utils.onnx import onnx_export

from finetune.export import export
from finetune.export.onnx_file import quiet
from finetune.export.predictor import session_of
from finetune.export.source import Source
from zoo.engines import BATCH, ENGINES, EngineError, build
from zoo.engines.machine import machine, versions


def timms_own(folder, batch, into):
    """The peer: its session, and its answers for uint8 images with and without the normalisation."""
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = network.pretrained_cfg
    mean, std = (np.array(config[key], np.float32).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    file = Path(into) / "timm.onnx"
    with quiet():
        onnx_export(network, str(file), torch.zeros(batch, *config["input_size"]), batch_size=batch)
    session = session_of(file)
    name = session.get_inputs()[0].name

    def normalised(pixels):
        return (pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255 - mean) / std

    return lambda images: session.run(None, {name: images})[0], normalised


def contenders(source, batch, folder):
    """What is timed, by name: functions of a batch of pixels."""
    exported = session_of(export(source.run.path, "onnx", Path(folder) / "ours").path)
    peer, normalised = timms_own(source.run.path / "model", batch, folder)
    prepared = normalised(np.resize(source.pixels, (batch, *source.pixels.shape[1:])))
    found = {
        "exported ONNX": lambda pixels: exported.run(["probabilities"], {"pixels": pixels}),
        "timm's onnx_export": lambda pixels: peer(prepared),
        "timm's onnx_export, normalised in NumPy": lambda pixels: peer(normalised(pixels)),
    }
    backbone = source.predictor.space.backbone
    for name in ENGINES:
        try:
            found[f"engine {name}"] = build(backbone, name, "fp32", 1_000)
        except EngineError as error:
            print(error, file=sys.stderr)
    return found


def measure(run, batch, repeats):
    """Images a second of each contender."""
    source = Source(run)
    pixels = np.resize(source.pixels, (batch, *source.pixels.shape[1:]))
    with tempfile.TemporaryDirectory() as folder:
        found = contenders(source, batch, folder)
        seconds = {name: [] for name in found}
        for turn in range(repeats + 1):
            for name, call in found.items():
                start = time.perf_counter()
                call(pixels)
                if turn:  # the first one warms up
                    seconds[name].append(time.perf_counter() - start)
    return {name: batch / statistics.median(times) for name, times in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.run, BATCH, arguments.repeats)
    if arguments.json:
        about = {"machine": machine(), "versions": versions("torch", "timm", "onnxruntime", "openvino")}
        print(json.dumps({**about, "images_per_second": found}, indent=1))
        return
    table = Table("", "images/s", "of the exported file's", box=None)
    for name, speed in sorted(found.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{speed:.0f}", f"{speed / found['exported ONNX']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()

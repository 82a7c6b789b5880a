"""A folder of JPEGs to features, beside the loop that people write with timm and torchvision.

    python benchmarks/extract.py [--data FOLDER] [--model efficientnet_lite0] [--repeats 5] [--json]
    python benchmarks/extract.py --peer-path FOLDER

The peer is torchvision's ImageFolder with timm's own transform, a DataLoader (batches of 32, two workers)
and the eager float32 network under inference_mode, with the same weights. Each run is a process of its own.
Seconds are from the folder to the features, with the network made ready before, and whole processes are
given too. Ours starts with no features in the cache but with the network converted; the first run ever, which
converts it, is told apart. All take turns; ratios are medians of those of a turn, and the cosine is that of
the worst image with the peer's.

With --peer-path, embetter is timed too, an extractor of timm's networks with scikit-learn's interface: the
folder that it was installed to (pip install --no-deps --target FOLDER embetter).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from zoo.backbone import load
from zoo.cache.folders import cache_folder
from zoo.engines.machine import machine, versions
from zoo.images.decode import EncodedImage, open_image

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ants-bees"

OURS = """
import json, sys, time
import numpy as np
from pathlib import Path
import zoo
from zoo.features.extract import compute
from zoo.images.scan import scan
from zoo.features.spaces import BackboneSpace
model, data, precision, into = sys.argv[1:]
space = BackboneSpace(zoo.load(model), precision=precision)
space.engine
start = time.perf_counter()
found = compute(scan(data).files, [space])
taken = time.perf_counter() - start
np.savez(into, X=found.matrices[0], paths=[str(path) for path in found.paths])
print(json.dumps({"seconds": taken, "images": len(found.paths)}))
"""

EAGER = """
import json, sys, time, warnings
import numpy as np, timm, torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
warnings.simplefilter("ignore")
folder, data, into = sys.argv[1:]
model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
config = timm.data.resolve_data_config(model.pretrained_cfg)
transform = timm.data.create_transform(**config, is_training=False)

class Flat(ImageFolder):
    def find_classes(self, directory):
        return [""], {"": 0}

start = time.perf_counter()
images = Flat(data, transform)
rows = []
with torch.inference_mode():
    for batch, _ in DataLoader(images, batch_size=32, num_workers=2):
        rows.append(model(batch).numpy())
taken = time.perf_counter() - start
np.savez(into, X=np.concatenate(rows), paths=[path for path, _ in images.samples])
print(json.dumps({"seconds": taken, "images": len(images)}))
"""

EMBETTER = """
import json, pathlib, sys, time
import numpy as np
from sklearn.pipeline import make_pipeline
from embetter.vision import ImageLoader, TimmEncoder
folder, data, into = sys.argv[1:]
pipe = make_pipeline(ImageLoader(), TimmEncoder(name=f"local-dir:{folder}"))
start = time.perf_counter()
paths = [str(path) for path in sorted(pathlib.Path(data).rglob("*")) if path.suffix in (".jpg", ".png")]
X = pipe.fit_transform(paths)
taken = time.perf_counter() - start
np.savez(into, X=X, paths=paths)
print(json.dumps({"seconds": taken, "images": len(paths)}))
"""


def answer(program, *arguments, path=None):
    """Run a program in a process of its own; return what it says in its last line."""
    environment = dict(os.environ)
    if path:
        environment["PYTHONPATH"] = os.fspath(path)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, env=environment
    )
    whole = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return {**json.loads(done.stdout.splitlines()[-1]), "whole": whole}


def forget_features():
    shutil.rmtree(cache_folder("features"), ignore_errors=True)


class Runs:
    """The ways of computing the features of a folder, by name."""

    def __init__(self, model, data, scratch):
        self._model, self._data, self._scratch = model, data, scratch
        self._folder = load(model).folder

    def path(self, name):
        return self._scratch / f"{name}.npz"

    def ours(self, precision, again=False):
        if not again:
            forget_features()
        return answer(OURS, self._model, self._data, precision, self.path(precision))

    def eager(self):
        return answer(EAGER, self._folder, self._data, self.path("eager"))

    def embetter(self, path):
        return answer(EMBETTER, self._folder, self._data, self.path("embetter"), path=path)


def worst_cosine(one, other):
    """Of the images that both have, found by their paths."""
    a, b = (
        dict(zip(found["paths"].tolist(), found["X"], strict=True)) for found in map(np.load, (one, other))
    )
    both = sorted(a.keys() & b.keys())  # ImageFolder passes over suffixes that it does not know.
    A, B = (np.stack([rows[path] for path in both]) for rows in (a, b))
    return float(((A * B).sum(axis=1) / np.linalg.norm(A, axis=1) / np.linalg.norm(B, axis=1)).min())


def decoding(preprocess, data, repeats):
    """Milliseconds an image on one core: reading the file apart, decoding, and resizing and cropping."""
    files = [path.read_bytes() for path in sorted(Path(data).rglob("*.jpg"))]
    taken = {"decode": [], "decode, reduced": [], "decode, reduced, and prepare": []}
    for _ in range(repeats):
        for key, function in (
            ("decode", open_image),
            ("decode, reduced", lambda content: EncodedImage(content, "").decode(preprocess.reduction)),
            ("decode, reduced, and prepare", lambda content: prepared(preprocess, content)),
        ):
            start = time.perf_counter()
            for content in files:
                function(content)
            taken[key].append((time.perf_counter() - start) / len(files) * 1000)
    return {key: round(statistics.median(values), 2) for key, values in taken.items()}


def prepared(preprocess, content):
    picture = EncodedImage(content, "").decode(preprocess.reduction)
    return preprocess(picture.image, picture.box)


def measure(given, scratch):
    runs = Runs(given.model, given.data, scratch)
    first = {precision: runs.ours(precision)["whole"] for precision in ("fp32", "bf16")}
    ways = {
        "timm + ImageFolder + DataLoader(2)": runs.eager,
        "zoo fp32": lambda: runs.ours("fp32"),
        "zoo bf16": lambda: runs.ours("bf16"),
        "zoo bf16, again": lambda: runs.ours("bf16", again=True),
    }
    if given.peer_path:
        ways["embetter"] = lambda: runs.embetter(given.peer_path)
    taken, whole, n_images = {name: [] for name in ways}, {name: [] for name in ways}, 0
    for _ in range(given.repeats):
        for name, run in list(ways.items()):
            try:
                found = run()
            except RuntimeError as error:
                print(f"{name}: {error}", file=sys.stderr)
                del ways[name], taken[name]
                continue
            taken[name].append(found["seconds"])
            whole[name].append(found["whole"])
            n_images = found["images"]
    peer = next(iter(taken))
    results = [
        {
            "way": name,
            "seconds": round(statistics.median(values), 2),
            "images_per_second": round(n_images / statistics.median(values), 1),
            "ratio": round(statistics.median(p / v for p, v in zip(taken[peer], values, strict=True)), 2),
            "whole_process": round(statistics.median(whole[name]), 2),
            "whole_ratio": round(
                statistics.median(p / v for p, v in zip(whole[peer], whole[name], strict=True)), 2
            ),
            "least_and_most": [round(min(values), 2), round(max(values), 2)],
        }
        for name, values in taken.items()
    ]
    cosines = {p: worst_cosine(runs.path(p), runs.path("eager")) for p in ("fp32", "bf16")}
    return {
        "images": n_images,
        "results": results,
        "worst_cosine": {name: round(value, 5) for name, value in cosines.items()},
        "first_ever_seconds": {name: round(value, 1) for name, value in first.items()},
        "milliseconds_on_one_core": decoding(load(given.model).preprocess, given.data, given.repeats),
    }


def table(results, title):
    shown = Table(title=title)
    for heading in ("way", "seconds", "images/s", "x the first", "least to most", "whole process", "x"):
        shown.add_column(heading, justify="left" if heading == "way" else "right")
    for row in results:
        least, most = row["least_and_most"]
        shown.add_row(
            row["way"],
            f"{row['seconds']:.2f}",
            f"{row['images_per_second']:.0f}",
            f"{row['ratio']:.1f}",
            f"{least:.2f} to {most:.2f}",
            f"{row['whole_process']:.2f}",
            f"{row['whole_ratio']:.1f}",
        )
    return shown


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--peer-path", type=Path, help="where embetter was installed to")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ZOO_CACHE"] = os.path.join(scratch, "cache")
        found = measure(given, Path(scratch))
    about = {**machine(), **versions("torch", "torchvision", "timm", "openvino", "pillow")}
    if given.json:
        print(json.dumps({"model": given.model, **about, **found}, indent=1))
        return
    Console().print(table(found.pop("results"), f"{given.model}, {found['images']} JPEGs"))
    for name, value in {**found, **about}.items():
        print(f"{name.replace('_', ' ')}: {value}")


if __name__ == "__main__":
    main()

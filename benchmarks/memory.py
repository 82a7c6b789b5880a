"""Peak memory of ``zoo extract`` over the number of images, each run in a fresh process.

    python benchmarks/memory.py [--counts 1000 10000 60000] [--side 64] [--suffix .npz] [--json]
    python benchmarks/memory.py --raw

The pictures are small JPEGs, all different, drawn into a temporary folder. What is measured is the largest
resident set of the whole process, the network and its engine included. With --raw, an image's own colours
(3,072 numbers) take the place of a network's features: the same code, without the hour that a network needs.
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
from PIL import Image
from rich.console import Console
from rich.table import Table

NETWORK = """
import resource, sys
from zoo.cli.app import main
photos, output, model, engine = sys.argv[1:]
code = main(["extract", model, photos, "-o", output, "--engine", engine, "--json"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""

RAW = """
import json, resource, sys
from pathlib import Path
from zoo.features.fill import compute
from zoo.images.scan import scan
from zoo.features.files import Table, labels_by_folder, write_output
from zoo.features.spaces import RawPixels
photos, output = map(Path, sys.argv[1:3])
filled = compute(scan(photos).files, [RawPixels()])
y, classes = labels_by_folder(filled.paths, photos)
paths = [path.relative_to(photos).as_posix() for path in filled.paths]
write_output(output, Table({"X": RawPixels.width}, paths, y, classes, "{}", filled))
print(json.dumps({"images": len(filled), "computed": filled.computed}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def draw(folder, start, count, side):
    """Write pictures number `start` to `start + count`, a hundred to a class folder."""
    x, y = np.arange(side), np.arange(side)[:, None]
    for i in range(start, start + count):
        place = folder / f"{i // 100:05}"
        place.mkdir(exist_ok=True)
        a, b, c = i % 61, i // 61 % 61, i // 3721
        channels = [(x * (a + 1) + y) % 256, (y * (b + 1) + x) % 256, (x + y + 9 * c + 0 * y) % 256]
        Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).save(place / f"{i:06}.jpg", quality=90)


def run(photos, output, given):
    """Extract in a process of its own; return seconds and the peak in MB."""
    start = time.perf_counter()
    program = RAW if given.raw else NETWORK
    arguments = [sys.executable, "-c", program, photos, output, given.model, given.engine]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    peak = int(done.stderr.splitlines()[-1]) * (1 if sys.platform == "darwin" else 1024)
    summary = json.loads(done.stdout)
    return {
        "images": summary["images"],
        "computed": summary["computed"],
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mb": round(peak / 1e6),
        "output_mb": round(output.stat().st_size / 1e6, 1),
    }


def measure(given, scratch):
    results, drawn = [], 0
    photos = scratch / "photos"
    photos.mkdir()
    output = scratch / f"features{given.suffix}"
    draw(photos, 0, 1, given.side)
    run(photos, output, given)  # converts the network
    for count in sorted(given.counts):
        draw(photos, drawn, count - drawn, given.side)
        drawn = count
        # Nothing is computed twice, so each run has the pictures that the one before did not.
        fresh = run(photos, output, given)
        results.append({"run": "computing", **fresh})
        results.append({"run": "again", **run(photos, output, given)})
    return results


def table(results, title):
    shown = Table(title=title)
    for heading in ("images", "run", "computed", "seconds", "peak MB", "file MB"):
        shown.add_column(heading, justify="left" if heading == "run" else "right")
    for row in results:
        keys = ("images", "run", "computed", "seconds", "peak_mb", "output_mb")
        shown.add_row(*(str(row[key]) for key in keys))
    return shown


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 60_000])
    parser.add_argument("--side", type=int, default=64, help="of the pictures, in pixels")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--engine", default="openvino", help="auto may load several to time them")
    parser.add_argument("--raw", action="store_true", help="colours instead of a network's features")
    parser.add_argument("--suffix", default=".npz")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ZOO_CACHE"] = os.path.join(scratch, "cache")
        results = measure(given, Path(scratch))
    if given.json:
        print(json.dumps({"model": "raw pixels" if given.raw else given.model, "results": results}, indent=1))
    else:
        Console().print(
            table(results, f"{'raw pixels' if given.raw else given.model}, {given.side} px, {given.suffix}")
        )


if __name__ == "__main__":
    main()

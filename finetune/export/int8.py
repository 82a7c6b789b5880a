"""``--int8``: convolutions in 8-bit integers, and what that costs on the held-out images.

Ranges of activations come from training images; weights have a scale for each channel and 7 bits, so that
sums of their products cannot overflow on processors without instructions for them.
"""

import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune.errors import RunError
from finetune.export.onnx_file import describe, keep_arrays, save
from finetune.export.predictor import ONNX_FILE, ExportedPredictor, session_of
from finetune.runs.predictions import Predictions
from zoo.engines.converted import quiet

if TYPE_CHECKING:
    from finetune.export.source import Labelled, Source

__all__ = ["Int8", "paired_interval", "replace_by_int8"]

#: Training images that activations' ranges are taken from.
N_CALIBRATION = 128

#: Points of accuracy that may be lost.
ALLOWED = 0.01

_REPEATS = 15


@dataclass(frozen=True)
class Int8:
    """8-bit integers beside float32, on the held-out images.

    Attributes
    ----------
    n : int
        Held-out images.
    accuracy, accuracy_fp32 : float
    lost : float
        Accuracy in float32 minus that in 8 bits.
    ci95 : tuple of float
        95% interval of `lost`, from images that only one of the two predicts correctly.
    agree : float
        Share of images with the same prediction.
    rejected, rejected_fp32 : float or None
        Share of images called unlike anything in training at 0.05; None where the run does not know.
    megabytes, megabytes_fp32 : float
        Sizes of the files.
    milliseconds, milliseconds_fp32 : float
        For one image on this machine, decoding left out: medians of alternating runs.
    """

    n: int
    accuracy: float
    accuracy_fp32: float
    lost: float
    ci95: tuple[float, float]
    agree: float
    rejected: float | None
    rejected_fp32: float | None
    megabytes: float
    megabytes_fp32: float
    milliseconds: float
    milliseconds_fp32: float

    def lines(self) -> list[str]:
        """Return what a person reads."""
        lo, hi = self.ci95
        lost = f"loses {100 * self.lost:.1f} points (95% interval {100 * lo:.1f} to {100 * hi:.1f})"
        right = f"{self.accuracy:.1%} of {self.n:,} held-out images right, float32 {self.accuracy_fp32:.1%}"
        lines = [
            f"int8: {right}: {lost}; {self.agree:.1%} are predicted alike",
            f"int8: {self.megabytes:.1f} MB and {self.milliseconds:.1f} ms an image here, float32"
            f" {self.megabytes_fp32:.1f} MB and {self.milliseconds_fp32:.1f} ms",
        ]
        if self.rejected is not None:
            lines.append(
                f"int8: --reject 0.05 rejects {self.rejected:.1%} of them, float32 {self.rejected_fp32:.1%}"
            )
        return lines


def replace_by_int8(source: "Source", folder: Path, force: bool) -> tuple[dict[str, Any], float]:
    """Put an 8-bit model in the place of the one in `folder`.

    Returns
    -------
    dict, float
        What was measured, and the greatest difference in probability from the run on the golden images.

    Raises
    ------
    RunError
        If it loses more than a point of accuracy, unless `force`.
    """
    path = folder / ONNX_FILE
    with tempfile.TemporaryDirectory(prefix="finetune-") as name:
        made = Path(name) / "int8" / ONNX_FILE
        made.parent.mkdir()
        _quantise(source, path, made, Path(name))
        source.log(f"int8: predicting {len(source.held_out)} held-out images, twice")
        found = _compare(source.held_out, path, made, source)
        if found.lost > ALLOWED and not force:
            raise RunError(
                "\n".join([*found.lines(), "That is more than a point: nothing was exported."]),
                "Export without --int8, or add --force.",
            )
        os.replace(_beside(made, path), path)
    source.notes += found.lines()
    probabilities = session_of(path).run(["probabilities"], {"pixels": source.pixels})[0]
    return asdict(found), source.golden.difference(probabilities)


def _beside(made: Path, path: Path) -> Path:
    """A copy on the same disk, so that it can be renamed."""
    copy = path.with_name(".int8.tmp")
    copy.write_bytes(made.read_bytes())
    return copy


def _quantise(source: "Source", fp32: Path, out: Path, folder: Path) -> None:
    """Write the 8-bit model, with ONNX Runtime's own tools."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared.onnx"
    with quiet():
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(out),
            _reader(_calibration(source)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    model = onnx.load(str(out))
    keep_arrays(model, source.module)
    describe(model, {**source.about, "precision": "int8"})
    save(model, out)


def _calibration(source: "Source") -> list[NDArray[np.uint8]]:
    """Training images, spread over the classes as they come, prepared one by one."""
    from zoo.images.decode import EncodedImage, UnreadableImage, read_file

    space, train = source.predictor.space, source.train
    found = []
    for i in np.random.default_rng(0).permutation(len(train)):
        try:
            image = EncodedImage(read_file(train.paths[i]), train.names[i]).decode(space.reduction)
        except UnreadableImage:
            continue
        found.append(space.prepare(image.image, image.box)[None])
        if len(found) == N_CALIBRATION:
            break
    return found


def _reader(images: list[NDArray[np.uint8]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """Gives one batch at a time."""

        def __init__(self) -> None:
            self._rest = iter(images)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            image = next(self._rest, None)
            return None if image is None else {"pixels": image}

    return Reader()


def _compare(images: "Labelled", fp32: Path, int8: Path, source: "Source") -> Int8:
    exact, small = ExportedPredictor(fp32), ExportedPredictor(int8)
    expected, found = exact.predict_all(images.paths), small.predict_all(images.paths)
    label_of = dict(zip(images.paths, images.labels.tolist(), strict=True))
    truth = np.array([label_of[path] for path in found.paths])
    right = [p.probabilities.argmax(axis=1) == truth for p in (expected, found)]
    ms = _milliseconds(fp32, int8, source.pixels)
    return Int8(
        n=len(truth),
        accuracy=float(right[1].mean()),
        accuracy_fp32=float(right[0].mean()),
        lost=float(right[0].mean() - right[1].mean()),
        ci95=paired_interval(right[0], right[1]),
        agree=float((expected.probabilities.argmax(1) == found.probabilities.argmax(1)).mean()),
        rejected=_rejected(small, found),
        rejected_fp32=_rejected(exact, expected),
        megabytes=int8.stat().st_size / 1e6,
        megabytes_fp32=fp32.stat().st_size / 1e6,
        milliseconds=ms[1],
        milliseconds_fp32=ms[0],
    )


def paired_interval(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> tuple[float, float]:
    """95% interval of a difference of two accuracies on the same images.

    Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions", Statistics
    in Medicine 24: half an image is added to each of the four combinations, then Wald's interval is taken.

    Parameters
    ----------
    right_a, right_b : (n,) bool arrays
        Whether either classifier predicts each image correctly.

    Returns
    -------
    tuple of float
        Of the accuracy of a minus that of b.
    """
    n = len(right_a) + 2
    only_a, only_b = (right_a & ~right_b).sum() + 0.5, (right_b & ~right_a).sum() + 0.5
    centre = (only_a - only_b) / n
    half = 1.96 * np.sqrt(only_a + only_b - (only_a - only_b) ** 2 / n) / n
    return float(centre - half), float(centre + half)


def _rejected(predictor: ExportedPredictor, found: Predictions) -> float | None:
    knowledge = predictor.knowledge
    if knowledge.unfamiliar is None:
        return None
    return float((knowledge.unfamiliarity(found.features) <= 0.05).mean())


def _milliseconds(fp32: Path, int8: Path, pixels: NDArray[np.uint8]) -> list[float]:
    """Time for one image of either, in turns, so that what else the machine does falls on both."""
    sessions = [session_of(path) for path in (fp32, int8)]
    times: list[list[float]] = [[], []]
    for _ in range(_REPEATS):
        for session, found in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session.run(["probabilities"], {"pixels": pixels[:1]})
            found.append(1000 * (time.perf_counter() - start))
    return [statistics.median(found) for found in times]

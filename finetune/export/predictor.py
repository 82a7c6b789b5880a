"""A classifier from an exported ONNX file, on new images: needs neither torch nor timm."""

import json
import os
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune.errors import RunError
from finetune.evaluation.coverage import PredictionSets
from finetune.evaluation.unfamiliar import Unfamiliar
from finetune.runs.predictions import BasePredictor, Predictions
from finetune.runs.predictor import Predictor
from finetune.runs.record import Run
from finetune.trust import Knowledge
from zoo.images.decode import EncodedImage, UnreadableImage, read_file
from zoo.images.preprocess import Preprocess, raw_reduction
from zoo.parallel import in_order, threads
from zoo.progress import progress

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "ARRAYS",
    "ONNX_FILE",
    "UNFAMILIAR",
    "ExportedPredictor",
    "load",
    "load_onnx",
    "metadata_of",
    "session_of",
]

ONNX_FILE = "model.onnx"

#: What the names of arrays begin with that tell unfamiliar images.
UNFAMILIAR = "unfamiliar"

#: Those arrays; all else that is known of unfamiliar images is in the metadata.
ARRAYS = ("references", "distances")

#: Images that are run at a time.
_BATCH = 32

_ERRORS_ONLY = 3

_AGAIN = "Export the run again: finetune export RUN --format onnx"


class ExportedPredictor(BasePredictor):
    """A classifier in an ONNX file that ``finetune export`` wrote.

    Images are decoded and prepared as the run does it.

    Parameters
    ----------
    path : path
        The file, or the folder of the export.

    Attributes
    ----------
    path : Path
        The file.
    about : dict
        All that it says of itself.
    classes : tuple of str
        Class names, in the order of the outputs.

    Raises
    ------
    RunError
        If it is missing, unreadable, or was written by another program.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path) / ONNX_FILE if Path(path).is_dir() else Path(path)
        self._session = session_of(self.path)
        self.about = metadata_of(self._session)
        if self.about.get("version") != 1:
            raise RunError(f"{self.path} was not written by this version of finetune export.", _AGAIN)
        self.classes = tuple(self.about["classes"])
        self._preprocess = Preprocess.from_config(self.about["preprocess"])

    @cached_property
    def knowledge(self) -> Knowledge:
        """What the file knows for prediction sets and for unfamiliar images."""
        sets = self.about["prediction_sets"]
        return Knowledge(
            None if sets is None else PredictionSets.from_dict(sets),
            None if self.about["unfamiliar"] is None else _unfamiliar(self.path, self.about["unfamiliar"]),
        )

    def predict_all(self, paths: Sequence[str | os.PathLike[str]]) -> Predictions:
        """Return everything about some images, leaving out those that cannot be read."""
        wanted = ["scores", "probabilities", "features"]
        kept: list[Path] = []
        batch: list[NDArray[np.uint8]] = []
        skipped: list[UnreadableImage] = []
        found: list[list[NDArray[np.float32]]] = []

        def flush() -> None:
            if batch:
                found.append(self._session.run(wanted, {"pixels": np.stack(batch)}))
                batch.clear()

        given = [Path(path) for path in paths]
        decoded = in_order(self._prepared, given, ahead=2 * _BATCH)
        with progress("predicting", len(given)) as advance, closing(decoded):
            for path, pixels in zip(given, decoded, strict=True):
                if isinstance(pixels, UnreadableImage):
                    skipped.append(pixels)
                else:
                    kept.append(path)
                    batch.append(pixels)
                if len(batch) == _BATCH:
                    flush()
                advance(1)
            flush()
        if not found:  # how wide the outputs are, from an empty image
            blank = np.zeros((1, *self._preprocess.input_size, 3), np.uint8)
            found = [[rows[:0] for rows in self._session.run(wanted, {"pixels": blank})]]
        scores, probabilities, features = (np.concatenate(rows) for rows in zip(*found, strict=True))
        return Predictions(kept, features, scores, probabilities.astype(np.float64), skipped)

    def _prepared(self, path: Path) -> NDArray[np.uint8] | UnreadableImage:
        """An image's pixels as the file expects them; large JPEGs are decoded smaller, as the run does it."""
        pixels_only = self.about["preprocess"]["inputs"] == "pixels"
        reduction = raw_reduction if pixels_only else self._preprocess.reduction
        try:
            image = EncodedImage(read_file(path), str(path)).decode(reduction)
            return self._preprocess(image.image, image.box)
        except UnreadableImage as error:
            return error


def load_onnx(path: str | os.PathLike[str]) -> ExportedPredictor:
    """Load an exported ONNX file to predict with; parameters and errors are those of `ExportedPredictor`.

    Examples
    --------
    >>> load_onnx("runs/first-onnx/model.onnx").predict(["a.jpg"])  # doctest: +SKIP
    ['ants']
    """
    return ExportedPredictor(path)


def load(
    path: str | os.PathLike[str], *, engine: str = "auto", precision: str = "fp32"
) -> Predictor | ExportedPredictor:
    """Load a classifier to predict with.

    Parameters
    ----------
    path : path
        A run folder, or an ONNX file (or its folder) that ``finetune export`` wrote.
    engine, precision : str, optional
        Of a run, as in :func:`zoo.engines.build`; an ONNX file is run by ONNX Runtime.

    Returns
    -------
    Predictor or ExportedPredictor

    Raises
    ------
    RunError
        If there is no finished run, or no ONNX file of ours.

    Examples
    --------
    >>> load("runs/ants-bees-probe-001").predict(["a.jpg"])  # doctest: +SKIP
    ['ants']
    """
    if Path(path).suffix.lower() == ".onnx" or (Path(path) / ONNX_FILE).is_file():
        return ExportedPredictor(path)
    return Predictor(Run.load(path), engine, precision)


def session_of(path: Path) -> "onnxruntime.InferenceSession":
    """Open an ONNX file in ONNX Runtime.

    Raises
    ------
    RunError
        If it is missing or no ONNX file, or ONNX Runtime is not installed.
    """
    if not path.is_file():
        raise RunError(f"There is no {path}.", "Name a file that finetune export wrote.")
    try:
        import onnxruntime
    except ImportError as error:
        raise RunError(
            "Predicting with an ONNX file needs onnxruntime.", "Install it: pip install onnxruntime"
        ) from error
    # ONNX Runtime's exceptions share no base class.
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads()
    failures = (state.Fail, state.InvalidProtobuf, state.InvalidGraph, state.NotImplemented)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (*failures, state.InvalidArgument, state.NoSuchFile, state.RuntimeException) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"ONNX Runtime cannot read {path} ({reason}).", _AGAIN) from error


def metadata_of(session: "onnxruntime.InferenceSession") -> dict[str, Any]:
    """Return what a file says of itself; empty if another program wrote it."""
    found = session.get_modelmeta().custom_metadata_map
    try:
        return {key: json.loads(value) for key, value in found.items()}
    except ValueError:
        return {}


def _unfamiliar(path: Path, about: dict[str, Any]) -> Unfamiliar:
    """The features of training images that the file holds."""
    try:
        import onnx
    except ImportError as error:
        raise RunError(
            "Telling images unlike anything in training needs onnx.", "Install it: pip install onnx"
        ) from error
    from onnx import numpy_helper

    arrays = {
        tensor.name.removeprefix(f"{UNFAMILIAR}."): numpy_helper.to_array(tensor)
        for tensor in onnx.load(str(path)).graph.initializer
        if tensor.name.startswith(f"{UNFAMILIAR}.")
    }
    return Unfamiliar(
        arrays["references"],
        about["k"],
        arrays["distances"],
        np.array(about["p_values"]),
    )

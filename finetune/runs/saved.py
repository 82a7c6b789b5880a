"""The one form of a saved model: a folder that timm opens.

``config.json`` and ``model.safetensors`` are in timm's own layout. A linear classifier on the network's last
features takes the place of its own, so that ``timm.create_model("local-dir:FOLDER", pretrained=True)`` gives
our logits. Any other head lies beside a headless network (``num_classes=0``) in ``head.safetensors``, and
``config.json`` names its kind under ``head`` and, where it reads more than the last features, under
``features`` what it reads, in the order of its columns. Where ``tta`` is ``mirror``, a head reads the mean
over an image and its mirror image, which for a linear classifier is the mean of both scores. A head on pixels
needs no network at all.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from finetune.errors import RunError
from finetune.evaluation.calibration import fit_temperature
from finetune.heads.head import Head
from finetune.heads.linear import Linear
from finetune.method import Fitted, Images, Task
from zoo.backbone import Backbone
from zoo.engines.taps import taps_of
from zoo.reading import read_json

__all__ = ["FittedHead", "head_class", "load_head", "model_errors", "save_head", "save_network"]

#: Where the head of each kind is defined.
HEADS = {
    "linear": "finetune.heads.linear:Linear",
    "mlp": "finetune.heads.mlp:MLP",
    "knn": "finetune.heads.knn:Neighbours",
    "kernel": "finetune.heads.kernel:Kernel",
    "constant": "finetune.heads.constant:Constant",
}


@dataclass(eq=False, kw_only=True)
class FittedHead(Fitted):
    """A head on a frozen backbone's features, or on pixels.

    Attributes
    ----------
    head : Head
        Standardisation and temperature folded in.
    backbone : Backbone or None
        Unchanged by the training; None for a head on pixels.
    features : str
        What the head reads of a network: ``last`` features, or those of all ``stages``.
    tta : str
        ``mirror`` where it reads the mean over an image and its mirror image; or ``none``.
    """

    head: Head
    backbone: Backbone | None
    features: str = "last"
    tta: str = "none"

    @classmethod
    def calibrated(
        cls,
        task: Task,
        backbone: Backbone | None,
        head: Head,
        scores: NDArray[Any],
        choice: dict[str, Any],
        curve: list[dict[str, Any]],
        warnings: list[str],
        history: list[dict[str, Any]] | None = None,
    ) -> Self:
        """Return the result of a choice by cross-validation.

        Parameters
        ----------
        task : Task
        backbone : Backbone or None
        head : Head
            Fitted to all training images, not yet calibrated.
        scores : (n, c) array
            Out-of-fold scores of the training images; they give the temperature.
        choice : dict
            What was chosen, with its accuracy, and as ``features`` what the head reads (else ``last``).
        curve : list of dict
            What it was chosen among.
        warnings : list of str
        history : list of dict, optional
            Where it is more than the curve.
        """
        temperature = fit_temperature(scores, task.train.labels)
        common = {"cv_folds": task.folds.n_folds, "temperature": temperature, "curve": curve}
        return cls(
            task.classes,
            {**choice, **common},
            history=[{"step": i, **line} for i, line in enumerate(curve if history is None else history)],
            warnings=warnings,
            out_of_fold=scores / temperature,
            head=head.with_temperature(temperature),
            backbone=backbone,
            features=choice.get("features", "last"),
            tta=task.tta,
        )

    @property
    def n_parameters(self) -> int:
        """How many numbers were learned."""
        return self.head.n_parameters

    def decision_function(self, images: Images) -> NDArray[np.floating[Any]]:
        """Return calibrated scores, (n, c): their softmax is the class probabilities."""
        return self.head.decision_function(images.features(self.features))

    def save(self, folder: Path) -> None:
        """Write the backbone with this head into `folder`."""
        save_head(folder, self.backbone, self.head, self.classes, self.features, self.tta)


def save_head(
    folder: Path,
    backbone: Backbone | None,
    head: Head,
    classes: Sequence[str],
    features: str = "last",
    tta: str = "none",
) -> None:
    """Write a backbone, tensor for tensor as it is, with a head in place of its own classifier.

    Parameters
    ----------
    folder : Path
        Created if needed.
    backbone : Backbone or None
        None for a head on pixels.
    head : Head
    classes : sequence of str
        Names of its outputs.
    features : str, optional
        What the head reads of the network, as in :func:`zoo.engines.taps_of`: ``last`` or ``stages``.
    tta : str, optional
        ``mirror`` where it reads the mean over an image and its mirror image.
    """
    if isinstance(head, Linear) and backbone is not None and features == "last":
        named = {f"{backbone.classifier}.weight": head.W, f"{backbone.classifier}.bias": head.b}
        save_network(folder, backbone, named, classes, tta=tta)
        return
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.ascontiguousarray(array) for name, array in head.arrays().items()}
    (folder / "head.safetensors").write_bytes(save(arrays))
    config = {} if backbone is None else _config(backbone, 0)
    config |= {"head": {"kind": head.kind, **head.settings()}, "label_names": list(classes)}
    if backbone is None:
        config["inputs"] = "pixels"
    else:
        if features != "last":
            config["features"] = list(taps_of(backbone, features))
        if tta != "none":
            config["tta"] = tta
        _write_headless(folder, backbone)
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def save_network(
    folder: Path,
    backbone: Backbone,
    trained: Mapping[str, NDArray[np.float32]],
    classes: Sequence[str],
    input_size: tuple[int, int] | None = None,
    tta: str = "none",
) -> None:
    """Write a backbone with other values of some of its tensors; all others byte for byte as they were.

    Parameters
    ----------
    folder : Path
        Created if needed.
    backbone : Backbone
        The network before training.
    trained : mapping of str to array
        By timm's names; the classifier's among them.
    classes : sequence of str
        Names of its outputs.
    input_size : (int, int), optional
        Height and width of the images that it expects now.
    tta : str, optional
        ``mirror`` where its scores are to be averaged over an image and its mirror image.
    """
    from safetensors.numpy import load_file

    tensors = load_file(backbone.folder / "model.safetensors")
    for name, values in trained.items():
        # Some networks have a 1 x 1 convolution for a classifier: the same numbers with two more axes.
        axes = tensors[name].ndim - values.ndim if name in tensors else 0
        shaped = values.reshape(values.shape + (1,) * axes)
        tensors[name] = np.ascontiguousarray(shaped, np.float32 if shaped.dtype.kind == "f" else None)
    folder.mkdir(parents=True, exist_ok=True)
    _write_tensors(folder, tensors)
    config = {**_config(backbone, len(classes)), "label_names": list(classes)}
    if input_size is not None:
        config["pretrained_cfg"]["input_size"] = [3, *input_size]
    if tta != "none":
        config["tta"] = tta
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


@contextmanager
def model_errors(folder: Path) -> Iterator[None]:
    """Turn what reading a damaged model raises in the block into a RunError that names the folder."""
    from safetensors import SafetensorError

    wrong = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, SafetensorError)
    try:
        yield
    except wrong as error:
        raise RunError(
            f"The model in {folder} is damaged or of another version ({type(error).__name__}: {error}).",
            "Copy the run anew from where it came, or train again with finetune.",
        ) from error


def load_head(folder: Path, backbone: Backbone | None) -> Head:
    """Read a saved model's head.

    Parameters
    ----------
    folder : Path
        Of the model.
    backbone : Backbone or None
        The same folder's network; None for a head on pixels.
    """
    from safetensors import safe_open
    from safetensors.numpy import load_file

    config = read_json(folder / "config.json")
    if "head" in config:
        settings = dict(config["head"])
        kind = head_class(settings.pop("kind"))
        return kind.from_arrays(load_file(folder / "head.safetensors"), settings)
    assert backbone is not None
    with safe_open(folder / "model.safetensors", framework="np") as file:
        W = file.get_tensor(f"{backbone.classifier}.weight")
        b = file.get_tensor(f"{backbone.classifier}.bias")
    return Linear(W.reshape(len(W), -1), b)


def head_class(kind: str) -> type[Head]:
    """Return the class of a kind of head."""
    module, _, name = HEADS[kind].partition(":")
    found: type[Head] = getattr(import_module(module), name)
    return found


def _write_headless(folder: Path, backbone: Backbone) -> None:
    """Write the backbone's tensors without its classifier's."""
    if not backbone.classifier:
        shutil.copyfile(backbone.folder / "model.safetensors", folder / "model.safetensors")
        return
    from safetensors.numpy import load_file

    tensors = load_file(backbone.folder / "model.safetensors")
    gone = f"{backbone.classifier}."
    _write_tensors(folder, {name: t for name, t in tensors.items() if not name.startswith(gone)})


def _write_tensors(folder: Path, tensors: dict[str, NDArray[Any]]) -> None:
    from safetensors.numpy import save

    # Written by us and not by safetensors' save_file, which lets nobody but the owner read the file.
    (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))


def _config(backbone: Backbone, n_classes: int) -> dict[str, Any]:
    """timm's ``config.json`` for another number of outputs."""
    kept = ("architecture", "num_features", "global_pool", "stages")
    config = {key: backbone.config[key] for key in kept if key in backbone.config}
    # Without it, timm would build its default of 1,000 outputs and leave our classifier out.
    config["model_args"] = {**backbone.config.get("model_args", {}), "num_classes": n_classes}
    config["num_classes"] = n_classes
    theirs = ("num_classes", "label_names", "label_descriptions")
    cfg = {k: v for k, v in backbone.config["pretrained_cfg"].items() if k not in theirs}
    config["pretrained_cfg"] = {**cfg, "num_classes": n_classes}
    return config

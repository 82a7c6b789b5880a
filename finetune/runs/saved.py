"""The one form in which a trained model is kept.

A folder with ``config.json`` and ``model.safetensors`` in timm's own layout:
``timm.create_model("local-dir:FOLDER", pretrained=True)`` gives the same logits without this project.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.backbone import Backbone

__all__ = ["read_head", "save_backbone", "save_model", "save_network"]


def save_model(
    folder: Path, backbone: Backbone, W: NDArray[np.float32], b: NDArray[np.float32], classes: Sequence[str]
) -> None:
    """Write a backbone, tensor for tensor as it is, with a linear classifier in place of its own.

    Parameters
    ----------
    folder : Path
        Made if need be.
    backbone : Backbone
        Its tensors are copied byte for byte.
    W : (c, d) array
        Weights of the classifier.
    b : (c,) array
        Its biases.
    classes : sequence of str
        Names of its outputs.
    """
    weight = f"{backbone.classifier}.weight"
    save_network(folder, backbone, {weight: W, f"{backbone.classifier}.bias": b}, classes)


def save_network(
    folder: Path,
    backbone: Backbone,
    trained: Mapping[str, NDArray[np.float32]],
    classes: Sequence[str],
    input_size: tuple[int, int] | None = None,
) -> None:
    """Write a backbone with other values of some of its tensors; all others byte for byte as they were.

    Parameters
    ----------
    folder : Path
        Made if need be.
    backbone : Backbone
        What the network was before.
    trained : mapping of str to array
        By timm's names; the classifier's among them.
    classes : sequence of str
        Names of its outputs.
    input_size : (int, int), optional
        Height and width of the images that it expects now.
    """
    from safetensors.numpy import load_file, save

    tensors = load_file(backbone.folder / "model.safetensors")
    for name, values in trained.items():
        # Some networks have a 1 x 1 convolution for a classifier: the same numbers with two more axes.
        axes = tensors[name].ndim - values.ndim if name in tensors else 0
        shaped = values.reshape(values.shape + (1,) * axes)
        tensors[name] = np.ascontiguousarray(shaped, np.float32 if shaped.dtype.kind == "f" else None)
    folder.mkdir(parents=True, exist_ok=True)
    # Written by us and not by safetensors' save_file, which lets nobody but the owner read the file.
    (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
    config = _config(backbone, classes)
    if input_size is not None:
        config["pretrained_cfg"]["input_size"] = [3, *input_size]
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def save_backbone(folder: Path, backbone: Backbone, extra: dict[str, Any]) -> None:
    """Write a backbone as it is, for a classifier that timm has no form for and that lies beside it.

    Parameters
    ----------
    folder : Path
        Made if need be.
    backbone : Backbone
        Its file is copied byte for byte.
    extra : dict
        What ``config.json`` holds besides, to make that classifier from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(backbone.folder / "model.safetensors", folder / "model.safetensors")
    config = json.dumps({**backbone.config, **extra}, indent=1)
    (folder / "config.json").write_text(config, encoding="utf-8")


def _config(backbone: Backbone, classes: Sequence[str]) -> dict[str, Any]:
    """timm's ``config.json`` for the new classifier."""
    kept = ("architecture", "num_features", "global_pool", "stages")
    config = {key: backbone.config[key] for key in kept if key in backbone.config}
    # Without it, timm would build its default of 1,000 outputs and leave our classifier out.
    config["model_args"] = {**backbone.config.get("model_args", {}), "num_classes": len(classes)}
    config["num_classes"] = len(classes)
    config["label_names"] = list(classes)
    theirs = ("num_classes", "label_names", "label_descriptions")
    cfg = {k: v for k, v in backbone.config["pretrained_cfg"].items() if k not in theirs}
    config["pretrained_cfg"] = {**cfg, "num_classes": len(classes)}
    return config


def read_head(backbone: Backbone) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a saved model's classifier: weights (c, d) and biases (c,)."""
    from safetensors import safe_open

    with safe_open(backbone.folder / "model.safetensors", framework="np") as file:
        W = file.get_tensor(f"{backbone.classifier}.weight")
        b = file.get_tensor(f"{backbone.classifier}.bias")
    return W.reshape(len(W), -1), b

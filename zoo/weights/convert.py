"""From a verified weights file to a folder in timm's own layout.

This is the one place that builds a network from foreign weights. What it writes, anybody's timm
reads: ``timm.create_model("local-dir:FOLDER", pretrained=True)``.
"""

import errno
import json
import os
import pickle
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from zoo.errors import WeightsError
from zoo.reading import read_json
from zoo.weights.digests import sha256_of
from zoo.weights.keymaps import rename

if TYPE_CHECKING:
    import torch

__all__ = ["write_model_folder"]

_OTHER_WEIGHTS = (
    "Name other weights for it (`zoo list` shows what there is), or report the file to its author."
)


def write_model_folder(
    folder: Path,
    weights: Path,
    architecture: str,
    *,
    keymap: str | None,
    config: Path | None,
    notes: dict[str, Any],
) -> None:
    """Write ``config.json`` and ``model.safetensors`` for a weights file into an empty folder.

    The file is ``.safetensors``, or a pickle, which is read with ``weights_only=True``; `keymap` translates
    its names to timm's. What the network is, `config`, the ``config.json`` that came with the weights, says,
    or else `architecture`. `notes` are further entries of the configuration.

    Raises
    ------
    OSError
        If the folder cannot be written.
    WeightsError
        If the file cannot be read, does not fit the network exactly, or holds NaN or infinities.
    """
    import torch

    with torch.random.fork_rng(devices=[]):  # Weights are drawn at random before they are loaded.
        if config is not None:
            model = _from_config(weights, config, folder)
        else:
            model = _from_architecture(weights, architecture, keymap)
    _check_finite(model, weights)
    # What was loaded is now the model's own; in the configuration it would only be written out again.
    model.pretrained_cfg.pop("state_dict", None)
    described = {**_labels(model), "num_features": model.head_hidden_size, "stages": _stages(model), **notes}
    _save(model, folder, described)
    # safetensors writes files that only their owner can read, and caches are often shared.
    shutil.copymode(folder / "config.json", folder / "model.safetensors")
    _note_digest(folder)


def _note_digest(folder: Path) -> None:
    """Write the digest of the weights into the configuration, so that later changes are noticed."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["file_sha256"] = sha256_of(folder / "model.safetensors")
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")


def _save(model: Any, folder: Path, described: dict[str, Any]) -> None:
    from safetensors import SafetensorError
    from timm.models import save_for_hf

    try:
        save_for_hf(model, str(folder), model_config=described, safe_serialization=True)
    except SafetensorError as error:
        # It has the system's error, of a full disk for instance, in its text only.
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(folder)) from error


def _from_architecture(weights: Path, architecture: str, keymap: str | None) -> Any:
    import timm

    state = _read(weights)
    try:
        if keymap is not None:
            model = timm.create_model(architecture, pretrained=False)
            model.load_state_dict(rename(state, keymap, architecture), strict=True)
            return model
        # Handing timm the tensors themselves keeps its own translation of old names, loads strictly,
        # and leaves it nothing to download.
        return timm.create_model(architecture, pretrained=True, pretrained_cfg_overlay={"state_dict": state})
    except (RuntimeError, KeyError, ValueError) as error:
        raise _misfit(weights, architecture, error) from error


def _from_config(weights: Path, config: Path, folder: Path) -> Any:
    import timm

    architecture = _architecture(config)
    state = _read(weights)
    with TemporaryDirectory(dir=folder) as staging:  # The system's own is often too small.
        # timm takes the two files from one folder; the pickle's name tells it which reader to use.
        shutil.copyfile(config, Path(staging, "config.json"))
        name = "model.safetensors" if weights.suffix == ".safetensors" else "pytorch_model.bin"
        shutil.copyfile(weights, Path(staging, name))
        try:
            _check_size(staging, state, weights)
            model: Any = timm.create_model(f"local-dir:{staging}", pretrained=True)
        except (RuntimeError, KeyError, ValueError) as error:
            raise _misfit(weights, architecture, error) from error
        except (TypeError, AttributeError, AssertionError, IndexError) as error:
            # timm uses what the file says as it is: a text for a number fails anywhere.
            raise WeightsError(
                f"timm cannot build what {config} describes ({_first_line(error)}).", _OTHER_WEIGHTS
            ) from error
    if model.num_classes != model.pretrained_cfg["num_classes"]:
        # timm would leave the classifier as it was drawn at random.
        raise WeightsError(
            f"{config} names two numbers of classes, {model.num_classes} and "
            f"{model.pretrained_cfg['num_classes']}.",
            _OTHER_WEIGHTS,
        )
    return model


def _check_size(folder: str, state: "dict[str, torch.Tensor]", weights: Path) -> None:
    """Refuse a configuration of a network far larger than its weights, before memory is taken for it."""
    import timm
    import torch

    with torch.device("meta"):
        shapes = timm.create_model(f"local-dir:{folder}", pretrained=False).state_dict()
    described = sum(tensor.numel() for tensor in shapes.values())
    held = sum(tensor.numel() for tensor in state.values())
    if described > 2 * held + 1_000_000:
        raise ValueError(f"the configuration describes {described:,} numbers, the file holds {held:,}")


def _architecture(config: Path) -> str:
    try:
        return str(read_json(config)["architecture"])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{config} names no architecture ({error}).", _OTHER_WEIGHTS) from error


def _read(weights: Path) -> "dict[str, torch.Tensor]":
    """Return the tensors of a file, whichever of the two formats it has."""
    from safetensors import SafetensorError
    from timm.models import load_state_dict

    try:
        return dict(load_state_dict(str(weights), use_ema=True, device="cpu", weights_only=True))
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{weights} cannot be read as weights ({_first_line(error)}).", _OTHER_WEIGHTS
        ) from error


def _misfit(weights: Path, architecture: str, error: Exception) -> WeightsError:
    return WeightsError(f"{weights} does not fit {architecture}: {error}.", _OTHER_WEIGHTS)


def _check_finite(model: Any, weights: Path) -> None:
    # Neither safetensors nor torch looks, and one NaN makes every feature of every image NaN.
    broken = [
        name
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if broken:
        raise WeightsError(
            f"{weights} holds NaN or infinite values in {', '.join(broken[:5])}.", _OTHER_WEIGHTS
        )


def _labels(model: Any) -> dict[str, Any]:
    """Return the classes' names, if anybody knows them: ImageNet's synsets with their meanings."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    own = model.pretrained_cfg.get("label_names")
    if own:
        return {"label_names": list(own)}
    subset = infer_imagenet_subset(model)
    if subset is None:
        return {}
    info = ImageNetInfo(subset)
    names = info.label_names()
    return {
        "label_names": names,
        "label_descriptions": {name: info.label_name_to_description(name) for name in names},
    }


def _stages(model: Any) -> list[dict[str, Any]]:
    """Return where in the network each halving of the resolution ends, from input to output."""
    information = getattr(model, "feature_info", None) or []
    stages = getattr(information, "info", information)
    return [
        {"module": stage["module"], "reduction": stage["reduction"], "channels": stage["num_chs"]}
        for stage in stages
    ]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__

"""From a verified weights file to a folder in timm's own layout.

This is the one place that builds a network from foreign weights. What it writes, anybody's timm
reads: ``timm.create_model("local-dir:FOLDER", pretrained=True)``.
"""

import json
import pickle
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from zoo.errors import WeightsError
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
    from timm.models import save_for_hf

    with torch.random.fork_rng(devices=[]):  # Weights are drawn at random before they are loaded.
        if config is not None:
            model = _from_config(weights, config)
        else:
            model = _from_architecture(weights, architecture, keymap)
    _check_finite(model, weights)
    # What was loaded is now the model's own; in the configuration it would only be written out again.
    model.pretrained_cfg.pop("state_dict", None)
    described = {**_labels(model), "num_features": model.head_hidden_size, "stages": _stages(model), **notes}
    save_for_hf(model, str(folder), model_config=described, safe_serialization=True)
    # safetensors writes files that only their owner can read, and caches are often shared.
    shutil.copymode(folder / "config.json", folder / "model.safetensors")


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


def _from_config(weights: Path, config: Path) -> Any:
    import timm

    architecture = json.loads(config.read_text(encoding="utf-8"))["architecture"]
    _read(weights)
    with TemporaryDirectory() as staging:
        # timm takes the two files from one folder; the pickle's name tells it which reader to use.
        shutil.copyfile(config, Path(staging, "config.json"))
        name = "model.safetensors" if weights.suffix == ".safetensors" else "pytorch_model.bin"
        shutil.copyfile(weights, Path(staging, name))
        try:
            return timm.create_model(f"local-dir:{staging}", pretrained=True)
        except (RuntimeError, KeyError, ValueError) as error:
            raise _misfit(weights, architecture, error) from error


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
    """Return where in the network each halving of the resolution ends, from input to output.

    Only modules whose output is one tensor of maps with the channels that timm names: an HRNet's stage, for
    one, is a list of them.
    """
    information = getattr(model, "feature_info", None) or []
    named = getattr(information, "info", information)
    modules = dict(model.named_modules())
    shapes = _shapes(model, {stage["module"]: modules.get(stage["module"]) for stage in named})
    return [
        {"module": stage["module"], "reduction": stage["reduction"], "channels": stage["num_chs"]}
        for stage in named
        if stage["num_chs"] in shapes.get(stage["module"], ())
    ]


def _shapes(model: Any, modules: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return the second and the last side of the maps that some modules give: one of them counts channels."""
    import torch

    found: dict[str, tuple[int, int]] = {}

    def look(name: str, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4:
            found[name] = (output.shape[1], output.shape[3])

    handles = [
        module.register_forward_hook(lambda module, given, output, name=name: look(name, output))
        for name, module in modules.items()
        if module is not None
    ]
    with torch.inference_mode():
        model.eval()(torch.zeros(1, *model.pretrained_cfg.get("input_size", (3, 224, 224))))
    for handle in handles:
        handle.remove()
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__

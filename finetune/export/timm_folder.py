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
_README = "README.md"


def write(source: "Source", folder: Path) -> dict[str, float]:
    """Copy the saved model into `folder`; return timm's greatest difference from the run.

    Raises
    ------
    RunError
        If the head has no place in timm's layout, or timm disagrees with the run.
    """
    saved = source.run.path / "model"
    config = json.loads((saved / _FILES[0]).read_text(encoding="utf-8"))
    other = "Use --format onnx (ONNX Runtime opens it), torch (torch.export.load) or page (a browser)."
    if "head" in config:
        what = f"a head of the kind {config['head']['kind']!r}" + (" on all stages" * ("features" in config))
        raise RunError(
            f"timm has no place for {what}: it opens networks that end in one linear layer on their last"
            " features.",
            other,
        )
    if config.get("tta", "none") != "none":
        raise RunError("timm does not average over an image and its mirror image (--tta mirror).", other)
    for name in _FILES:
        shutil.copyfile(saved / name, folder / name)
    if (saved / _README).is_file():
        shutil.copyfile(saved / _README, folder / _README)
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

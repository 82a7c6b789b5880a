"""``model/README.md``: how to open a saved model with timm and torch, without this project."""

import json
from pathlib import Path
from typing import Any

from finetune.runs.saved import head_class
from zoo.writing import write_text

__all__ = ["readme", "write_readme"]

_TEXT = """# How to open this model

{what} `config.json` names the classes (`label_names`) and says how an image is prepared (`pretrained_cfg`).

With this project, from the folder above:

```python
import finetune

print(finetune.load(".").predict_proba(["image.jpg"]))
```
"""

_ALONE = """
Without it, with timm and torch, from this folder (elsewhere with its path instead of the dot):

```python
{code}
```

The probabilities are the calibrated ones of this project. (It decodes large JPEG files at a fraction of their
size, so that those of large photographs differ slightly.)
"""

_NETWORK = """import json, timm, torch
from PIL import Image, ImageOps

model = timm.create_model("local-dir:.", pretrained=True).eval()
prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
image = prepare(ImageOps.exif_transpose(Image.open("image.jpg")).convert("RGB"))
images = {images}
with torch.inference_mode():
    scores = model(images).mean(0)
print(dict(zip(json.load(open("config.json"))["label_names"], scores.softmax(0).tolist())))"""

_HEAD = """import json, timm, torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

model = timm.create_model("local-dir:.", pretrained=True).eval()
prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
config, head = json.load(open("config.json")), load_file("head.safetensors")
{hooks}image = prepare(ImageOps.exif_transpose(Image.open("image.jpg")).convert("RGB"))
images = {images}
with torch.inference_mode():
{X}
    {scores}
print(dict(zip(config["label_names"], scores.softmax(0).tolist())))"""

_HOOKS = """maps, taps = {}, [tap.split(":") for tap in config["features"][1:]]  # without "last"
for name, _ in taps:
    hook = lambda module, given, output, name=name: maps.update({name: output.clone()})
    model.get_submodule(name).register_forward_hook(hook)
pools = {"avg": lambda x: x.mean((2, 3)), "max": lambda x: x.amax((2, 3))}
"""

_STAGES = """    last = model(images)
    X = torch.cat([last] + [pools[pool](maps[name]) for name, pool in taps], 1).mean(0)"""

_LAST = "    X = model(images).mean(0)"


def write_readme(folder: Path) -> None:
    """Write ``README.md`` into a saved model's folder."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_text(folder / "README.md", readme(config))


def readme(config: dict[str, Any]) -> str:
    """Return the text for a model with this ``config.json``."""
    if config.get("inputs") == "pixels":
        what = "A classifier on 32 x 32 pixels, without a network; `head.safetensors` holds it."
    elif "head" in config:
        what = (
            "A pretrained network without a classifier, as timm saves one, and in `head.safetensors` a "
            f"classifier on its features ({config['head']['kind']})."
        )
    else:
        what = "A network with its classifier, as timm saves one."
    code = _code(config)
    return _TEXT.format(what=what) + (_ALONE.format(code=code) if code else "")


def _code(config: dict[str, Any]) -> str:
    """Return a program that classifies one image; nothing where no short one does."""
    if config.get("inputs") == "pixels":
        return ""
    # A head reads the mean of both images' features; of a linear classifier's scores it is the same.
    images = "torch.stack([image, image.flip(2)])" if config.get("tta") == "mirror" else "image[None]"
    if "head" not in config:
        return _NETWORK.format(images=images)
    scores = head_class(config["head"]["kind"]).torch_code
    hooks, X = (_HOOKS, _STAGES) if "features" in config else ("", _LAST)
    return _HEAD.format(images=images, hooks=hooks, X=X, scores=scores) if scores else ""

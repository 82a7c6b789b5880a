"""A finished run's classifier as a file for other programs: ONNX, torch, timm, or a page for a browser.

Each format is one file of this room; :mod:`finetune.export.network` is the function that all of them hold.
"""

from finetune.export.export import FORMATS, Exported, export

__all__ = ["FORMATS", "Exported", "export"]

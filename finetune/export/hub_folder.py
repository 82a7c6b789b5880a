"""``--format hub``: a repository folder of the Hugging Face Hub, checked by timm."""

from pathlib import Path
from typing import TYPE_CHECKING

from finetune.export.hub import write_hub_folder
from finetune.export.timm_folder import write as write_timm

if TYPE_CHECKING:
    from finetune.export.source import Source

__all__ = ["write"]


def write(source: "Source", folder: Path) -> dict[str, float]:
    """Write the folder; return timm's greatest difference from the run; errors as for the format ``timm``."""
    differences = write_timm(source, folder)
    write_hub_folder(source.run, folder)  # The model card takes the place of the model's own README.md.
    return differences

"""A run as a repository of the Hugging Face Hub: timm's two files, and a model card."""

import json
import shutil
from pathlib import Path

from finetune.errors import RunError
from finetune.export.card import model_card
from finetune.runs import Run

__all__ = ["FILES", "write_hub_folder"]

#: All that a repository holds.
FILES = ("README.md", "config.json", "model.safetensors")


def write_hub_folder(run: Run, folder: Path, repo: str | None = None) -> None:
    """Write a repository folder, which ``timm.create_model("local-dir:FOLDER", pretrained=True)`` opens.

    Parameters
    ----------
    run : Run
        A finished run.
    folder : Path
        An existing, empty folder.
    repo : str, optional
        The repository it is for, as ``owner/name``; the card's example names it.

    Raises
    ------
    RunError
        If the run's head has no place in timm's layout, or its model is missing.
    OSError
        If the folder cannot be written.
    """
    saved = run.path / "model"
    try:
        config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{saved} has no readable config.json ({error}).", "Train again.") from error
    if "head" in config or not (saved / "model.safetensors").is_file():
        kind = config.get("head", {}).get("kind", "another")
        raise RunError(
            f"timm, with which the Hub's users open models, has no place for a head of the kind {kind!r}: it "
            "opens networks that end in one linear layer on their last features.",
            "Train with --strategy probe, svm, last-layers or full.",
        )
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(saved / name, folder / name)
    (folder / "README.md").write_text(model_card(run, config, repo), encoding="utf-8")

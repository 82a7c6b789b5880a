"""``finetune push``: upload a run's model to the Hugging Face Hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from finetune.cli.flags import Json

if TYPE_CHECKING:
    from finetune.export.push import Pushed

__all__ = ["push"]


def push(
    run: Annotated[Path, Parameter(help="A run folder.")],
    repo: Annotated[str, Parameter(help="The repository, as owner/name; it is created if there is none.")],
    *,
    private: Annotated[
        bool, Parameter(negative="", show_default=False, help="Create it as a private repository.")
    ] = False,
    message: Annotated[str | None, Parameter(help="The commit's message.")] = None,
    dry_run: Annotated[
        bool, Parameter(negative="", show_default=False, help="Show what would be sent, and send nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Upload a run's model to the Hugging Face Hub, with a model card made from the run.

    Three files are sent: model.safetensors and config.json, which timm opens, and README.md. Images,
    predictions and paths of this machine are not. The token is that of hf auth login or HF_TOKEN.
    """
    from dataclasses import asdict

    from finetune.export.push import push as upload
    from zoo.cli.console import print_json

    done = upload(run, repo, private=private, message=message, dry_run=dry_run)
    if json:
        print_json(asdict(done))
    else:
        _print(done)


def _print(done: "Pushed") -> None:
    for name, size in done.files.items():
        print(f"{size:12,}  {name}")
    if done.url is not None:
        print(f"Uploaded: {done.url}")
        return
    print(f"Would be sent to {done.repo}; README.md:\n\n{done.card}")

"""A run to the Hugging Face Hub: its repository folder, uploaded as one commit."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from finetune.errors import RunError
from finetune.export.hub import FILES, write_hub_folder
from finetune.runs import Run

__all__ = ["Pushed", "push"]


@dataclass(frozen=True)
class Pushed:
    """What was uploaded, or would be.

    Attributes
    ----------
    repo : str
    url : str or None
        Of the commit; None after a dry run.
    files : dict of str to int
        Bytes of each file.
    card : str
        The text of ``README.md``.
    """

    repo: str
    url: str | None
    files: dict[str, int]
    card: str


def push(
    run: str | os.PathLike[str],
    repo: str,
    *,
    private: bool = False,
    message: str | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Upload a run's model with a model card; the repository is created if there is none.

    ``HF_TOKEN`` (or ``hf auth login``), ``HF_ENDPOINT`` and proxies apply as for every program that uses the
    Hub. One commit holds all files: what can be seen is the old state or the new.

    Parameters
    ----------
    run : path
        A run folder.
    repo : str
        ``owner/name``.
    private : bool, optional
        Whether a repository that is created now is private.
    message : str, optional
        Of the commit.
    dry_run : bool, optional
        Upload nothing and use no network.

    Returns
    -------
    Pushed

    Raises
    ------
    RunError
        If the run cannot be written as a repository, or the Hub does not accept it.

    Examples
    --------
    >>> push("runs/first", "me/ants-bees", dry_run=True).files  # doctest: +SKIP
    {'README.md': 3310, 'config.json': 2010, 'model.safetensors': 13622076}
    """
    loaded = Run.load(run)
    _check_name(repo)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_hub_folder(loaded, folder, repo)
        files = {file: (folder / file).stat().st_size for file in FILES}
        card = (folder / "README.md").read_text(encoding="utf-8")
        url = (
            None
            if dry_run
            else _upload(folder, repo, private, message or f"{loaded.strategy} on {loaded.model}")
        )
    return Pushed(repo, url, files, card)


def _check_name(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    how = "Write it as owner/name, such as me/ants-bees."
    if repo.count("/") != 1:
        raise RunError(f"{repo!r} is not the name of a Hub repository.", how)
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise RunError(f"{repo!r} is not the name of a Hub repository: {error}", how) from error


def _upload(folder: Path, repo: str, private: bool, message: str) -> str:
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        raise RunError(
            "Offline mode is on (HF_HUB_OFFLINE): nothing can be uploaded.",
            "Run the same command without it, or with --dry-run.",
        )
    api = HfApi()
    with _hub_errors(repo, str(constants.ENDPOINT)):
        api.create_repo(repo, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message=message, allow_patterns=list(FILES)
        )
    return str(done.commit_url)


@contextmanager
def _hub_errors(repo: str, host: str) -> Iterator[None]:
    """Turn what the Hub's client raises into a message that ends with the next step."""
    from huggingface_hub import errors

    http_error: Any = errors.HfHubHTTPError.__mro__[1]
    try:
        yield
    except (OSError, ValueError, RuntimeError, http_error) as error:
        raise _translate(error, repo, host) from error


def _translate(error: Any, repo: str, host: str) -> RunError:
    from huggingface_hub import errors

    again = "Nothing was changed there; run the same command again later."
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403, 404):
            return RunError(
                f"{host} does not let you write to {repo} ({status}).",
                "Run `hf auth login` with a token that may write, and check the owner's name.",
            )
        return RunError(f"{host} answered with {status} for {repo}.", again)
    first = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
    if isinstance(error, errors.LocalTokenNotFoundError):
        return RunError(
            "There is no token for the Hub on this machine.", "Run `hf auth login`, or set HF_TOKEN."
        )
    return RunError(f"{repo} could not be uploaded to {host} ({first}).", again)

"""Files from the Hugging Face Hub, checked against the digest the Hub itself states.

The Hub's client checks the size of a download but not its hash, tries for half a minute where there is
no network, and raises two dozen kinds of errors. This module tries once (and again where the Hub says when),
checks the hash, and raises two: `Unavailable`, after which another source may be tried, and `WeightsError`
for a file that is not what it should be.
"""

import hashlib
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zoo.errors import WeightsError
from zoo.weights.digests import remembered_sha256

__all__ = ["HubFile", "Unavailable", "cached", "fetch", "is_commit"]

# Long enough for a slow line, short enough that a user without one is told while still looking.
_TIMEOUT_SECONDS = 8.0

# A Hub that is asked too often says when to come again; for longer than this nobody is kept waiting.
_PATIENCE_SECONDS = 20
_ATTEMPTS = 3

_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")
# Tags become names of files in the client's cache.
_TAG = re.compile(r"[\w-][\w.-]{0,199}")

_GO_ONLINE = (
    "go online (behind a mirror, set HF_ENDPOINT to its address), or fetch it once on another machine "
    "and copy that machine's Hugging Face cache here"
)


class Unavailable(Exception):
    """A source that does not have the file here and now: why not, and what would help, as clauses.

    `lacking` says what is missing, where that matters for what is tried next: ``connection`` if the Hub did
    not answer at all, ``file`` or ``revision`` if the repository answered but has no such thing.
    """

    def __init__(
        self,
        reason: str,
        remedy: str,
        *,
        lacking: Literal["connection", "file", "revision"] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.lacking = lacking


@dataclass(frozen=True)
class HubFile:
    """A verified file in the Hub client's own cache, its measured digest, and the commit it is from."""

    path: Path
    sha256: str
    commit: str


def cached(repo: str, file: str, revision: str) -> HubFile | None:
    """Return the verified file if the Hub client's cache has it, without using the network, else None.

    Raises WeightsError if the cached file is damaged.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, revision=revision)
    if not isinstance(found, str):
        return None
    path = Path(found)
    # A file of the cache is a link to a blob that is named by the digest the Hub stated.
    return HubFile(path, _verified(path, path.resolve().name), commit=path.parent.name)


def is_commit(revision: str) -> bool:
    """Return whether a revision is a commit, which never changes, rather than a branch or tag."""
    return _GIT_SHA1.fullmatch(revision) is not None


def fetch(repo: str, file: str, revision: str, *, offline: bool = False, update: bool = False) -> HubFile:
    """Return a verified file of a Hub repository, downloading it unless `offline`.

    A file of a commit that the Hub client's cache has is not requested again. Of a branch it is, and what the
    cache has counts only if the Hub cannot be reached; with `update`, not even then. The client's
    ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_HOME`` and ``HF_TOKEN`` apply.

    Raises
    ------
    Unavailable
        If it is unavailable here and now.
    WeightsError
        If what came does not match the Hub's digest.
    """
    from huggingface_hub import constants

    offline = offline or constants.is_offline_mode()
    if update and offline:
        raise Unavailable("offline mode is on", "run the same command online", lacking="connection")
    if offline or is_commit(revision):
        found = cached(repo, file, revision)
        if found is not None:
            return found
        if offline:
            raise Unavailable(
                f"{repo} is not in the cache and offline mode is on",
                "run it once online",
                lacking="connection",
            )
    try:
        return _download(repo, file, revision)
    except Unavailable as unavailable:
        if unavailable.lacking == "connection" and not update and (found := cached(repo, file, revision)):
            return found
        raise


def _download(repo: str, file: str, revision: str) -> HubFile:
    from huggingface_hub import hf_hub_download, hf_hub_url

    # Asking for the file's metadata first costs one small request and fails at once where there is
    # no network; hf_hub_download alone would retry for half a minute.
    with _hub_errors(repo, file, revision):
        commit, tag = _stated(hf_hub_url(repo, file, revision=revision))
        # The first download of a branch leaves the note that lets `cached` find it by the branch's name.
        with _progress_on_terminals_only():
            path = Path(hf_hub_download(repo, file, revision=revision, etag_timeout=_TIMEOUT_SECONDS))
    if commit not in path.parts:
        raise Unavailable(f"{repo} was changed while it was downloaded", "run the same command again")
    return HubFile(path, _verified(path, tag), commit)


def _stated(url: str) -> tuple[str, str]:
    """Ask the Hub for a file's commit and tag, again if it says when."""
    from huggingface_hub import errors, get_hf_file_metadata

    for attempt in range(1, _ATTEMPTS + 1):
        try:
            stated = get_hf_file_metadata(url, timeout=_TIMEOUT_SECONDS)
            break
        except errors.HfHubHTTPError as error:
            seconds = _retry_after(error)
            if seconds is None or seconds > _PATIENCE_SECONDS or attempt == _ATTEMPTS:
                raise
            time.sleep(seconds)
    commit, tag = stated.commit_hash or "", stated.etag or ""
    if not is_commit(commit) or not _TAG.fullmatch(tag):
        raise Unavailable(f"{_host()} answered, but not as a Hub does", "check HF_ENDPOINT")
    return commit, tag


def _retry_after(error: Any) -> int | None:
    """Return the seconds after which the Hub wants to be asked again, if it says so in seconds."""
    text = "" if error.response is None else error.response.headers.get("Retry-After", "")
    return int(text) if re.fullmatch(r"\d{1,9}", text.strip()) else None


def _verified(path: Path, stated: str) -> str:
    """Return a file's SHA-256 if the file is what the Hub stated, else remove it and raise."""
    sha256 = remembered_sha256(path)
    if _SHA256.fullmatch(stated):
        measured = sha256
    elif _GIT_SHA1.fullmatch(stated):  # Small files lie in git itself, under git's own kind of digest.
        content = path.read_bytes()
        measured = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    else:
        return sha256  # A cache without links, or a mirror with its own tags: nothing was stated.
    if measured != stated:
        # Left in place, the damaged file would be found again on every later run.
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise WeightsError(
            f"{path.name} was damaged on its way or on the disk: its digest is {measured}, not {stated}.",
            "The damaged file has been removed; run the same command again.",
        )
    return sha256


def _host() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


@contextmanager
def _progress_on_terminals_only() -> Iterator[None]:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _hub_errors(repo: str, file: str, revision: str) -> Iterator[None]:
    """Turn what the Hub's client raises into `Unavailable` with a reason a person can act on."""
    from huggingface_hub import errors

    # The client's HTTP library has changed twice (requests, httpx, httpx2); this is its base of all errors.
    http_error: Any = errors.HfHubHTTPError.__mro__[1]
    # RuntimeError is what the client's library for Xet, the Hub's storage of large files, raises.
    known = (OSError, ValueError, RuntimeError, http_error, errors.EntryNotFoundError)
    try:
        yield
    except known as error:
        raise _translate(error, repo, file, revision) from error


def _translate(error: Exception, repo: str, file: str, revision: str) -> Unavailable:
    from huggingface_hub import errors

    # From the particular to the general: the client's classes inherit from one another.
    if isinstance(error, errors.GatedRepoError):
        return Unavailable(f"{repo} is gated", f"ask for access at {_host()}/{repo} and run `hf auth login`")
    if isinstance(error, errors.RepositoryNotFoundError):
        return Unavailable(
            f"{_host()} has no repository {repo} that is open to you",
            "check the name; if it is private, run `hf auth login`",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        remedy = "name a branch, tag or commit that exists"
        return Unavailable(f"{repo} has no revision {revision}", remedy, lacking="revision")
    if isinstance(error, errors.LocalEntryNotFoundError):
        return Unavailable(f"{_host()} could not be reached", _GO_ONLINE, lacking="connection")
    if isinstance(error, errors.EntryNotFoundError):
        remedy = "name a file that it has"
        return Unavailable(f"{repo} has no file {file} at {revision}", remedy, lacking="file")
    if isinstance(error, errors.HFValidationError):
        return Unavailable(f"{repo} is not a repository's name", "write it as owner/name")
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else "no status"
        seconds = _retry_after(error)
        when = "later" if seconds is None else f"in {seconds} seconds, as it asks"
        return Unavailable(f"{_host()} answered with {status} for {repo}", f"try again {when}")
    if isinstance(error, OSError) and error.errno is not None:
        return Unavailable(
            f"{file} could not be written ({error.strerror})", "free some disk space or set HF_HOME"
        )
    if isinstance(error, RuntimeError):
        return Unavailable(
            f"{file} of {repo} could not be read from the Hub's storage, Xet ({_short(error)})",
            "run the same command again, or with HF_HUB_DISABLE_XET=1, which downloads by plain HTTP",
        )
    if isinstance(error, ValueError):  # The client refuses a path that would leave its cache.
        return Unavailable(f"{file!r} is not a file of {repo}: {_short(error)}", "correct its path")
    return Unavailable(f"{_host()} could not be reached ({_short(error)})", _GO_ONLINE, lacking="connection")


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:120] or type(error).__name__

"""ONNX Runtime for browsers: npm's package onnxruntime-web, fetched once, checked, and kept in the cache."""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from finetune.errors import RunError
from zoo.cache.folders import cache_errors, cache_folder, locked
from zoo.writing import atomic_folder

__all__ = ["VERSION", "web_runtime"]

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"

#: Of the package's archive, as npm packs it.
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"

#: What a page needs of it: the program, and the same compiled for browsers.
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")

_ARCHIVE = f"{PACKAGE}-{VERSION}.tgz"
_SECONDS = 300


def web_runtime() -> Path:
    """Return a folder that holds `FILES`, from the cache or fetched now.

    npm fetches it where it is installed, so that its settings hold; otherwise npm's registry is asked
    (``NPM_CONFIG_REGISTRY`` names another one).

    Raises
    ------
    RunError
        If it is neither in the cache nor to be had, or not what it should be.
    """
    folder = cache_folder("runtimes") / f"{PACKAGE}-{VERSION}"
    if folder.is_dir():
        return folder
    with locked(folder):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(prefix="finetune-") as name:
                archive = _fetch(Path(name))
                _check(archive)
                with cache_errors(folder), atomic_folder(folder) as made:
                    _unpack(archive, made)
    return folder


def _fetch(folder: Path) -> Path:
    """Download the archive."""
    npm = shutil.which("npm")
    if npm is not None:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, cwd=folder)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unavailable(str(error)) from error
        if done.returncode or not (folder / _ARCHIVE).is_file():
            raise _unavailable((done.stderr.strip().splitlines() or ["npm pack failed"])[0])
        return folder / _ARCHIVE
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    try:
        with urllib.request.urlopen(f"{registry}/{PACKAGE}/-/{_ARCHIVE}", timeout=_SECONDS) as answer:
            (folder / _ARCHIVE).write_bytes(answer.read())
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise _unavailable(str(error)) from error
    return folder / _ARCHIVE


def _check(archive: Path) -> None:
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise RunError(
            f"npm's {PACKAGE} {VERSION} is not what it should be: its SHA-256 is {found}, not {SHA256}.",
            "Nothing was exported. Run the command again; if it stays so, tell us.",
        )


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as packed:
        for name in FILES:
            content = packed.extractfile(f"package/dist/{name}")
            assert content is not None  # its digest was checked
            (folder / name).write_bytes(content.read())


def _unavailable(reason: str) -> RunError:
    return RunError(
        f"A page needs npm's {PACKAGE} {VERSION} once, and it cannot be fetched ({reason}).",
        "Go online and run the command again. It is kept in the cache: later pages are made offline.",
    )

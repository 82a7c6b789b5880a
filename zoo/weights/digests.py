"""SHA-256 of files, without reading a large file twice."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from zoo.cache.folders import CacheError
from zoo.cache.notes import recall, remember

__all__ = ["measured_sha256", "remembered_sha256", "sha256_of", "tensors_sha256"]


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 as 64 lowercase hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """Return a file's SHA-256, remembered while its size and its time of modification are the same."""
    note = recall(_subject(path))
    return measured_sha256(path) if note is None else str(note["sha256"])


def measured_sha256(path: Path) -> str:
    """Read a file, whatever is remembered of it; return its SHA-256 and remember that."""
    # Before the file is read: if it changes meanwhile, the digest is remembered of what it was.
    subject = _subject(path)
    sha256 = sha256_of(path)
    with suppress(CacheError):  # In a cache that can only be read it is measured every time.
        remember(subject, {"sha256": sha256})
    return sha256


def _subject(path: Path) -> dict[str, Any]:
    path = path.resolve()
    status = path.stat()
    return {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def tensors_sha256(path: Path, without: str) -> str:
    """Digest what a network computes with, whatever file it came in and whatever head it carries.

    SHA-256 over the names, types, shapes and bytes of the tensors of a safetensors file, in the order of
    names, except those of the module `without`: the classifier.
    """
    from safetensors import safe_open

    digest = hashlib.sha256()
    with safe_open(path, framework="np") as file:
        for name in sorted(file.keys()):
            if name.rpartition(".")[0] == without:
                continue
            tensor = file.get_tensor(name)
            digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
            digest.update(tensor.data)
    return digest.hexdigest()

"""SHA-256 of files, without reading a large file twice."""

import hashlib
import json
from pathlib import Path

from zoo.cache.folders import cache_folder, writing

__all__ = ["remembered_sha256", "sha256_of", "tensors_sha256"]


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 as 64 lowercase hexadecimal digits.

    Parameters
    ----------
    path : Path
        The file to read.

    Returns
    -------
    str
        The digest.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """Return a file's SHA-256, from the cache where the file has not changed since.

    A file counts as unchanged while its size and its time of modification are the same.

    Parameters
    ----------
    path : Path
        The file, which may be some hundred megabytes long.

    Returns
    -------
    str
        The digest.
    """
    path = path.resolve()
    status = path.stat()
    seen = {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    name = hashlib.sha256(str(path).encode()).hexdigest()[:32]
    note = cache_folder("digests") / f"{name}.json"
    try:
        remembered = json.loads(note.read_text(encoding="utf-8"))
        if {key: remembered[key] for key in seen} == seen:
            return str(remembered["sha256"])
    except (OSError, ValueError, KeyError):
        pass  # No note, or one that was cut short: the file itself answers.
    digest = sha256_of(path)
    with writing(note):
        note.write_text(json.dumps({**seen, "sha256": digest}), encoding="utf-8")
    return digest


def tensors_sha256(path: Path, without: str) -> str:
    """Digest what a network computes with, whatever file it came in and whatever head it carries.

    Parameters
    ----------
    path : Path
        A safetensors file.
    without : str
        Module whose tensors do not count: the classifier.

    Returns
    -------
    str
        SHA-256 over the names, types, shapes and bytes of the other tensors, in the order of names.
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

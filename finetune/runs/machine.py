"""What a result can depend on beside data, model and seed."""

import platform
import re
from importlib import metadata
from pathlib import Path

from finetune.runs.plain import PlainModel

__all__ = ["PACKAGES", "Environment", "environment"]

PACKAGES = (
    "finetune-zoo",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "timm",
    "pillow",
    "safetensors",
    "onnxruntime",
    "openvino",
)
"""Packages whose version can change a result."""


class Environment(PlainModel):
    """What a result can depend on beside data, model and seed.

    Attributes
    ----------
    python, platform, processor : str
        Version of Python, operating system, name of the processor.
    threads : int
        Threads that computed.
    precision : str or None
        Of the arithmetic that made the features: fp32 or bf16. Which engine ran it is not recorded, for
        features may come from the store.
    versions : dict of str to str
        Installed packages that can change a result.
    """

    python: str
    platform: str
    processor: str
    threads: int
    precision: str | None
    versions: dict[str, str]


def environment(threads: int, precision: str | None = None) -> Environment:
    """Describe this machine and what is installed on it, without importing any of it.

    Parameters
    ----------
    threads : int
        Threads that computed.
    precision : str, optional
        Of the arithmetic that made the features: fp32 or bf16. Which engine ran it is not recorded, for
        features may come from the store.

    Returns
    -------
    Environment
        Packages that aren't installed are left out.
    """
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        processor=_processor(),
        threads=threads,
        precision=precision,
        versions=versions,
    )


def _processor() -> str:
    """Name the processor; Python itself knows only its architecture on Linux."""
    try:
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
        )
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()

"""What this machine is and has, as far as the choice of an engine depends on it."""

import ctypes.util
import os
import platform
import sys
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

__all__ = ["has_bf16", "has_gpu", "has_int8", "machine", "versions"]


@lru_cache(maxsize=1)
def machine() -> dict[str, str | int]:
    """Return the processor's name and how many of its cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = _cpuinfo("model name") or platform.processor() or platform.machine()
    return {"processor": name, "cores": cores, "gpu": has_gpu()}


@lru_cache(maxsize=1)
def has_bf16() -> bool:
    """Return whether there is bfloat16 arithmetic in hardware, rather than emulated."""
    if has_gpu():
        import torch

        return torch.cuda.is_bf16_supported()
    if find_spec("openvino"):
        import openvino

        return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    flags = {*_cpuinfo("flags").split(), *_cpuinfo("Features").split()}
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


@lru_cache(maxsize=1)
def has_int8() -> bool:
    """Return whether the processor has an instruction for products of 8-bit integers, where Linux tells."""
    flags = {*_cpuinfo("flags").split(), *_cpuinfo("Features").split()}
    return bool(flags & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


@lru_cache(maxsize=1)
def has_gpu() -> bool:
    """Return whether torch can compute on a GPU; torch is imported only where there is a driver for one."""
    if sys.platform == "win32":
        driver = bool(ctypes.util.find_library("nvcuda"))
    else:  # NVIDIA's on Linux, that of a GPU lent by Windows, AMD's
        driver = any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))
    if not driver:
        return False
    import torch

    return torch.cuda.is_available()


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _cpuinfo(key: str) -> str:
    """The first value of a key in Linux's description of the processor; elsewhere nothing."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next(
        (value.strip() for name, _, value in (x.partition(":") for x in lines) if name.strip() == key), ""
    )

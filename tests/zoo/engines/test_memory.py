"""The C library's settings are changed only while a batch is run."""

import subprocess
import sys

import pytest

# Whether a block of 16 MB is mapped on its own, as glibc's malloc does above its threshold by default.
MAPPED = """
import ctypes, sys
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.mallinfo2.restype = type("Info", (ctypes.Structure,), {"_fields_": [(n, ctypes.c_size_t) for n in
    "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]})
def mapped():
    before = library.mallinfo2().hblks
    library.malloc(ctypes.c_size_t(64 * 2**20))
    return library.mallinfo2().hblks > before
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", MAPPED + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only the GNU C library has these settings")
def test_freed_memory_is_kept_within_the_block_only():
    code = """
from zoo.engines.memory import freed_memory_kept
print(mapped())
with freed_memory_kept():
    with freed_memory_kept():
        print(mapped())
    print(mapped())
print(mapped())
"""
    assert run(code) == ["True", "False", "False", "True"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only the GNU C library has these settings")
def test_a_torch_engine_leaves_the_process_as_it_was(tiny):
    code = f"""
import warnings, numpy, timm, torch, zoo
from zoo.engines import build
from zoo.engines.photographs import photographs
def state():
    return (torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(), len(warnings.filters),
            torch.get_num_threads(), torch.is_autocast_enabled("cpu"))
before = state()
backbone = zoo.load("local-dir:{tiny.folder}")
build(backbone, "torch")(photographs(backbone.preprocess))
print(*(a == b for a, b in zip(before, state())), mapped())
"""
    assert run(code) == 6 * ["True"]

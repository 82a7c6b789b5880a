"""Commands in processes of their own that start in milliseconds, to be killed by the hundred.

Run as a program, it imports everything and then forks a child for each command that it is told; it runs none
itself, so that no thread is there to be lost in the fork.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["Warm"]


class Warm:
    """The program, as a test sees it.

    Parameters
    ----------
    threads : int
        For each command's arithmetic.
    """

    def __init__(self, threads=1):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([sys.executable, __file__], env=environment, **pipes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()

    def start(self, program, *words, cwd, cache, largest_file=None):
        """Start a command; returns a `Child`."""
        err = Path(cwd).parent / f"stderr-{time.monotonic_ns()}"
        request = {"program": program, "words": [str(word) for word in words], "cwd": str(cwd),
                   "cache": str(cache), "err": str(err), "largest_file": largest_file}  # fmt: skip
        return Child(self._ask(request), err, self)

    def run(self, program, *words, **how):
        """Run a command to its end; returns the exit code and what it wrote on standard error."""
        return self.start(program, *words, **how).wait()

    def _ask(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Child:
    """A command that runs."""

    def __init__(self, pid, err, warm):
        self.pid, self._err, self._warm = pid, err, warm

    def kill(self, number):
        os.kill(self.pid, number)  # it stays a zombie until its exit code is taken

    def wait(self):
        """Return the exit code, negative for a signal that ended it, and what it wrote on standard error."""
        code = self._warm._ask({"wait": self.pid})
        text = self._err.read_text(errors="replace")
        self._err.unlink()
        return code, text

    def ended(self):
        """Whether it has ended already."""
        return bool(self._warm._ask({"ended": self.pid}))


def serve():
    import importlib
    import pkgutil

    import timm  # noqa: F401
    import torch  # noqa: F401

    for package in ("zoo", "finetune"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__") and "tensorboard" not in module.name:
                importlib.import_module(module.name)
    mains = {name: importlib.import_module(f"{name}.cli.app").main for name in ("zoo", "finetune")}
    codes = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid = request["wait"]
            answer = codes.pop(pid) if pid in codes else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        elif "ended" in request:
            pid = request["ended"]
            found, status = os.waitpid(pid, os.WNOHANG) if pid not in codes else (0, 0)
            if found:
                codes[pid] = os.waitstatus_to_exitcode(status)
            answer = int(pid in codes)
        else:
            answer = os.fork()
            if answer == 0:
                run(mains, request)
        print(answer, flush=True)


def run(mains, request):
    """Be the command: with its own folder and streams, and with the usual end of a process."""
    code = 99
    try:
        err = os.open(request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(err, 2)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        os.dup2(1, 0)
        os.chdir(request["cwd"])
        os.environ["ZOO_CACHE"] = request["cache"]
        if request["largest_file"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"],) * 2)
        code = mains[request["program"]](request["words"])
    except BaseException:  # noqa: BLE001  a traceback is what the tests look for
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()

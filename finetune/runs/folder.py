"""A run folder in the making: prepared beside its place, renamed when finished."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from finetune.errors import RunError
from finetune.runs.record import Run, read_record
from zoo.writing import names, put_in_place, sibling

__all__ = ["PARTS", "RunFolder", "check_out"]

#: What the operating system says of a disk that takes no more.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

PARTS = frozenset(
    {
        *("run.json", "metrics.jsonl", "predictions.csv", "model"),
        *("report.html", "feature_map.json", "feature_map.jpg", "trials.jsonl", "search.html"),
    }
)
"""Everything a run folder may hold at its top level. A folder with anything else in it is never replaced."""


class RunFolder:
    """A run folder in the making: there whole at the end of a ``with`` block, or not at all.

    Inside the block, write into `work`, a hidden folder beside `path`. At its end that is renamed to `path`.
    After an error or Ctrl-C it is removed, and `path` is as it was before. An earlier run at `path` is
    replaced; anything else that lies there is never touched.

    Parameters
    ----------
    out : path
        Where the run shall be.

    Attributes
    ----------
    path : Path
        The run's place.
    work : Path
        Where to write until then; it exists inside the block only.

    Examples
    --------
    >>> with RunFolder("runs/ants") as folder:  # doctest: +SKIP
    ...     write_predictions(folder.work, paths, y, probabilities, classes)
    ...     folder.write(run)
    """

    path: Path
    work: Path

    #: The file that marks a folder as finished, and all that may lie beside it; folders of another
    #: kind have others.
    record: ClassVar[str] = "run.json"
    parts: ClassVar[frozenset[str]] = PARTS

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.path = Path(out)
        self._numbered = False

    @classmethod
    def numbered(cls, data: str, strategy: str, root: str | os.PathLike[str] = "runs") -> Self:
        """Name a new folder ``root/<data>-<strategy>-001``, with the first number that is free.

        Parameters
        ----------
        data : str
            Name of the data, such as its folder's; special characters become hyphens.
        strategy : str
            Name of the strategy.
        root : path
            Folder of the runs; made where it doesn't exist.

        Returns
        -------
        RunFolder
            On entering the ``with`` block it takes the next number, should another process have this one.
        """
        name = re.sub(r"[^\w.]+", "-", data).strip("-._")[:60] or "images"
        folder = cls(_first_free(Path(root) / f"{name}-{strategy}-001"))
        folder._numbered = True
        return folder

    def __enter__(self) -> Self:
        """Check the place, claim it where it was numbered, and make the folder to work in."""
        check_out(self.path, self.record, self.parts)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while self._numbered:
                try:  # an empty folder holds the number against other processes, and isn't a run yet
                    self.path.mkdir()
                    break
                except FileExistsError:
                    self.path = _first_free(self.path)
            self._place = self.path.resolve()  # through a symbolic link, the folder it points to is replaced
            self.work = sibling(self._place)
            self.work.mkdir()
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        return self

    def write(self, run: Run) -> None:
        """Write ``run.json``.

        Parameters
        ----------
        run : Run
            What was found; its `path` is this folder's.
        """
        (self.work / "run.json").write_text(run.to_json(), encoding="utf-8")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the finished folder in its place, or remove what there is of it."""
        if kind is not None:
            self._discard()
            if isinstance(error, OSError) and error.errno in _FULL:
                raise RunError(
                    f"{self.path} cannot be written ({error.strerror}).",
                    "Free some space there, or choose an --out on another disk.",
                ) from error
            return
        try:
            self._check_parts()
            check_out(
                self.path, self.record, self.parts
            )  # something may have come to lie there in the meantime
        except ValueError:
            self._discard()
            raise
        except RunError as found:
            raise RunError(found.problem, f"The finished run is kept in {self.work}.") from found
        try:
            put_in_place(self.work, self._place)
        except OSError as failure:
            reason = failure.strerror or failure
            raise RunError(
                f"{self.path} could not be put in place ({reason}).",
                f"The finished run is kept in {self.work}.",
            ) from failure

    def _check_parts(self) -> None:
        """Hold the folder to what the documentation says is in it."""
        made = {entry.name for entry in self.work.iterdir()}
        if self.record not in made:
            raise ValueError(f"a run folder needs a {self.record}")
        if not made <= self.parts:
            raise ValueError(
                f"not part of a run folder: {sorted(made - self.parts)}; name new parts in PARTS"
            )

    def _discard(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        if self._numbered:
            with contextlib.suppress(OSError):
                self.path.rmdir()  # the claim, which is empty


def check_out(
    folder: str | os.PathLike[str], record: str = RunFolder.record, parts: frozenset[str] = PARTS
) -> None:
    """Make sure that a run can be written to a folder, before any long work starts; leaves nothing behind.

    Parameters
    ----------
    folder : path
        Where the run shall be.
    record : str, optional
        The file by which an earlier run is known, which may be replaced.
    parts : frozenset of str, optional
        All that may lie in one.

    Raises
    ------
    RunError
        Where something other than a run lies there, or the folder above can't be written to.
    """
    path = Path(folder)
    try:
        place = path.resolve()
        if place.exists():
            _check_replaceable(path, place, record, parts)
        above = next(parent for parent in place.parents if parent.exists())
        # Trying is the only honest test: permission bits say nothing of read-only disks and network shares.
        with tempfile.TemporaryDirectory(prefix=".finetune-", dir=above) as trial:
            (Path(trial) / place.name).mkdir()
    except OSError as error:
        raise _cannot_write(path, error) from error


def _check_replaceable(path: Path, place: Path, record: str, parts: frozenset[str]) -> None:
    """Refuse anything but an empty folder or a run with nothing of the user's in it."""
    other = "Choose another --out."
    if not place.is_dir():
        raise RunError(f"{path} is a file, not a folder.", other)
    if place == Path.cwd() or place in Path.cwd().parents:
        raise RunError(f"{path} is the folder you are in, or one above it.", "Choose an --out below it.")
    found = names(place)
    if not found:
        return
    if record not in found:
        raise RunError(f"{path} holds other files and is no run folder.", other)
    try:
        read_record(place, record)
    except RunError as error:
        raise RunError(f"{error.problem} It is not replaced.", other) from error
    if not found <= parts:
        theirs = ", ".join(sorted(found - parts)[:3])
        raise RunError(f"{path} is a run folder but holds files that aren't part of a run ({theirs}).", other)


def _first_free(path: Path) -> Path:
    """Count up the number that ends a path's name until nothing has that name."""
    stem, _, digits = path.name.rpartition("-")
    number = int(digits)
    while os.path.lexists(path) or os.path.lexists(f"{path}.unfinished"):
        number += 1
        path = path.with_name(f"{stem}-{number:03d}")
    return path


def _cannot_write(path: Path, error: OSError) -> RunError:
    return RunError(f"{path} cannot be written ({error.strerror or error}).", "Choose another --out.")

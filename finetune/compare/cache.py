"""The comparison's folder: results are stored there, so that they are not computed again."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from finetune.compare.record import SCHEMA, Comparison, MethodResult
from finetune.errors import RunError
from zoo.writing import names, write_text

__all__ = ["ResultCache"]

#: Everything that the folder may hold; one with anything else in it is never written to.
PARTS = frozenset({"compare.json", "compare.md", "compare.html", "methods"})


class ResultCache:
    """A comparison's folder.

    Parameters
    ----------
    folder : path
        Created if needed.

    Raises
    ------
    RunError
        If something else is in it, or it cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        other = "Choose another --out."
        try:
            if self.folder.is_dir() and (foreign := names(self.folder) - PARTS):
                raise RunError(f"{self.folder} holds other files ({sorted(foreign)[0]}).", other)
            (self.folder / "methods").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._cannot_write(error) from error

    def find(self, name: str, key: dict[str, Any]) -> MethodResult | None:
        """Return a stored result, if exactly the same was requested.

        Parameters
        ----------
        name : str
            The method.
        key : dict
            Everything that its result depends on.
        """
        path = self._path(name, key)
        try:
            return MethodResult.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            return None  # damaged: computed again, and written anew

    def store(self, result: MethodResult, key: dict[str, Any]) -> None:
        """Write a method's result, whole or not at all."""
        try:
            write_text(self._path(result.name, key), result.model_dump_json(indent=1))
        except OSError as error:
            raise self._cannot_write(error) from error

    def finish(self, comparison: Comparison, markdown: str, page: str) -> None:
        """Write the comparison itself: ``compare.json``, ``compare.md`` and ``compare.html``."""
        text = json.dumps(comparison.to_dict(), indent=1, ensure_ascii=False)
        try:
            write_text(self.folder / "compare.md", markdown)
            write_text(self.folder / "compare.html", page)
            # The last: where it is, the others are.
            write_text(self.folder / "compare.json", text)
        except OSError as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> RunError:
        return RunError(
            f"{self.folder} cannot be written ({error.strerror or error}).",
            "Free some space there, or choose another --out; what is in it is not computed again.",
        )

    def _path(self, name: str, key: dict[str, Any]) -> Path:
        described = json.dumps({**key, "schema": SCHEMA}, sort_keys=True)
        digest = hashlib.sha256(described.encode()).hexdigest()
        return self.folder / "methods" / f"{name}-{digest[:16]}.json"

"""Reading a registry file: every fault is reported with its line."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from zoo.errors import RegistryError
from zoo.registry.entry import Entry

__all__ = ["read_entries"]

# A place in the file as the keys and positions that lead there: ("models", 3, "sources", 0, "hub").
Place = tuple[str | int, ...]

# The C parser is ten times as fast, and not every build of PyYAML has it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_KINDS = ("hub", "package", "path")


#: Tags of mappings and lists that have none of their own; what others may make is never made.
_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass
class _Marked:
    """A YAML document as plain Python values, with the line each place stands on."""

    lines: dict[Place, int] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def value(self, node: yaml.Node, place: Place, loader: Any) -> Any:
        """Return a node's value, noting the line of everything inside it."""
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        if not isinstance(node, yaml.ScalarNode):
            if id(node) in self.seen:  # or a few lines could stand for thousands of millions of values
                self.faults.append((line, "what is written here is used again by an alias (*)"))
                return None
            self.seen.add(id(node))
            if node.tag not in _PLAIN:
                self.faults.append((line, f"the tag {node.tag} has no meaning here"))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, loader)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, i), loader) for i, item in enumerate(node.value)]
        return loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, place: Place, loader: Any) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in values:
                # YAML would silently let the last one count.
                self.faults.append((line, f"{key} is given twice"))
            self.lines[(*place, key)] = line
            values[key] = self.value(value_node, (*place, key), loader)
        return values

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest thing around it that the file does have."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read_entries(path: Path) -> tuple[Entry, ...]:
    """Return the entries of a registry file: YAML with one key, ``models``, that holds a list.

    Raises
    ------
    RegistryError
        Naming every fault with its line.
    OSError
        If the file cannot be opened.
    """
    marked = _Marked()
    models = _models(path, marked)
    entries = [_entry(model, ("models", i), marked, path.parent) for i, model in enumerate(models)]
    _note_repeated_names(models, marked)
    if marked.faults:
        raise _error(path, marked.faults)
    return tuple(entry for entry in entries if entry is not None)


def _note_repeated_names(models: list[Any], marked: _Marked) -> None:
    first_lines: dict[str, int] = {}
    for i, model in enumerate(models):
        if not isinstance(model, dict) or "name" not in model:
            continue
        name, line = str(model["name"]), marked.line(("models", i, "name"))
        if name in first_lines:
            marked.faults.append((line, f"the name {name} is taken since line {first_lines[name]}"))
        first_lines.setdefault(name, line)


def _models(path: Path, marked: _Marked) -> list[Any]:
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        document = marked.value(node, (), loader) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _error(path, [(line, f"not YAML: {error.problem}")]) from error
    except RecursionError:
        raise _error(path, [(1, "not a registry: it is nested too deeply")]) from None
    except (
        yaml.YAMLError,
        ValueError,
    ) as error:  # also a date such as 2026-99-99, and bytes that are no UTF-8
        raise _error(path, [(1, f"not YAML: {error}")]) from error
    if not isinstance(document, dict) or not isinstance(document.get("models"), list):
        raise _error(path, [(1, "the file must hold `models:` with a list of entries below it")])
    marked.faults += [(marked.line((key,)), f"unknown key {key}") for key in document if key != "models"]
    return document["models"]


def _entry(model: Any, place: Place, marked: _Marked, folder: Path) -> Entry | None:
    if not isinstance(model, dict):
        marked.faults.append(
            (marked.line(place), "an entry is a mapping with name, architecture and sources")
        )
        return None
    label = str(model.get("name", "an entry without a name"))
    written = model.get("sources")
    if isinstance(written, list):
        places = [(*place, "sources", i) for i in range(len(written))]
        sources = [_source(item, at, label, marked, folder) for item, at in zip(written, places, strict=True)]
        model = {**model, "sources": sources}
    try:
        return Entry.model_validate(model)
    except ValidationError as error:
        for fault in error.errors():
            at = fault["loc"]
            if at == ("sources",) and fault["type"] == "too_short" and written:
                continue  # pydantic counts the valid ones; what is wrong with the others is reported already.
            if fault["type"] == "union_tag_not_found":
                continue  # Reported by _source, which knows what the file says.
            described = _described(".".join(map(str, at)), fault["type"], fault["msg"])
            marked.faults.append((marked.line((*place, *at)), f"{label}: {described}"))
        return None


def _source(item: Any, place: Place, label: str, marked: _Marked, folder: Path) -> dict[str, Any]:
    """Turn ``{hub: {...}}``, which reads well, into ``{kind: hub, ...}``, which pydantic can tell apart."""
    kind = next(iter(item)) if isinstance(item, dict) and len(item) == 1 else None
    if kind not in _KINDS or not isinstance(item[kind], dict):
        expected = f"a source is `{'` or `'.join(f'{kind}: {{...}}' for kind in _KINDS)}`"
        marked.faults.append((marked.line(place), f"{label}: {expected}"))
        return {}
    fields = item[kind]
    if kind == "path" and isinstance(fields.get("file"), str):
        fields = {**fields, "file": folder / Path(fields["file"]).expanduser()}
    return {**fields, "kind": kind}


def _described(where: str, kind: str, message: str) -> str:
    """Describe a fault in the words of the file rather than of the validator."""
    if kind == "extra_forbidden":
        return f"unknown key {where}"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "too_short":
        return f"{where} is empty"
    return f"{where}: {message[0].lower()}{message[1:]}"


def _error(path: Path, faults: list[tuple[int, str]]) -> RegistryError:
    count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
    listing = "\n".join(f"  line {line}: {text}" for line, text in sorted(faults))
    return RegistryError(f"The registry {path} has {count}:\n{listing}\n", "Fix the lines named above.")

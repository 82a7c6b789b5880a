"""The flags of the command line: those that commands share, and those that methods declare."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cyclopts import Group, Parameter

from finetune.data.class_names import Labels
from finetune.experiment import Request
from finetune.method import Method
from finetune.methods import METHODS
from finetune.options import choices

__all__ = [
    "DataFlags",
    "Engine",
    "Json",
    "MethodFlags",
    "Model",
    "Out",
    "Precision",
    "Strategy",
    "given",
]

Json = Annotated[
    bool, Parameter(name="--json", negative="", help="Print JSON on standard output, and nothing else there.")
]
Engine = Annotated[str, Parameter(help="What runs the network: auto, openvino, onnxruntime or torch.")]
Precision = Annotated[
    Literal["fp32", "bf16", "int8", "auto"],
    Parameter(
        help="bf16 is faster where the processor has it and a little less exact, int8 more so; auto takes"
        " bf16 where it is exact enough."
    ),
]
Model = Annotated[str, Parameter(help="A name from `zoo list`, one of timm's, or hf-hub:owner/repo.")]
Out = Annotated[Path | None, Parameter(help="Folder for the run; by default a new one below runs/.")]
Strategy = Annotated[
    str,
    Parameter(
        help="What is trained. "
        + " ".join(f"{name}: {m.summary}." for name, m in METHODS.items() if m.kind == "strategy")
        + " To compare with: "
        + ", ".join(name for name, m in METHODS.items() if m.kind != "strategy")
        + "."
    ),
]


@Parameter(name="*")
@dataclass(frozen=True)
class DataFlags:
    """The images, and how they are read, split and turned into features."""

    data: Annotated[
        str,
        Parameter(
            help="Folder of class folders (train/ and val/ or test/ may stand above them), a table"
            " (.csv, .tsv, .jsonl), or demo."
        ),
    ] = "demo"
    group_by: Annotated[
        str | None,
        Parameter(
            help="A column of the table, or a regular expression whose parentheses enclose the group's name"
            " in an image's path: images of one group stay together in every split and fold."
        ),
    ] = None
    copies: Annotated[
        Literal["group", "drop", "ignore"],
        Parameter(
            help="Images that show one thing: kept together in every split and fold (group), or all but one"
            " of exact copies left out (drop), or ignored."
        ),
    ] = "group"
    labels: Annotated[
        Labels,
        Parameter(help="Which folder is the class in fruit/apple/1.jpg: top (fruit), leaf (apple) or path."),
    ] = "top"
    keep_masks: Annotated[
        bool, Parameter(negative="", help="Keep images that are masks of photographs beside them.")
    ] = False
    view: Annotated[
        Literal["crop", "whole"],
        Parameter(
            help="What the network sees of an image: the crop that it was trained for, mostly the middle, or"
            " the whole image."
        ),
    ] = "crop"
    tta: Annotated[
        Literal["none", "mirror"],
        Parameter(help="mirror: features are the mean over an image and its mirror image."),
    ] = "none"
    folds: Annotated[int, Parameter(help="Folds of the cross-validation.")] = 5
    seed: Annotated[int, Parameter(help="Random seed: one seed, one result.")] = 0
    strict: Annotated[
        bool, Parameter(negative="", help="Stop at files that are not images, instead of skipping them.")
    ] = False
    engine: Engine = "auto"
    precision: Precision = "fp32"
    registry: Annotated[
        Path | None, Parameter(help="A registry file of your own, which overrides ours and ZOO_REGISTRY's.")
    ] = None

    def request(self, *models: str) -> Request:
        """Return the request that these flags make."""
        values = self.arguments()
        del values["registry"]
        return Request(models=models, n_folds=values.pop("folds"), **values)

    def arguments(self) -> dict[str, Any]:
        """Return the flags as keyword arguments of :func:`finetune.fit`."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def _flags_of(methods: Iterable[type[Method]]) -> type:
    """Make a class of flags from all that the methods declare; None is what the user left alone."""
    declared: dict[str, dict[str, Any]] = {}
    for method in methods:
        for name, field in method.Options.model_fields.items():
            declared.setdefault(name, {})[method.name] = field
    fields = [
        (name, Annotated[_kind(fields) | None, _parameter(fields)], dataclasses.field(default=None))
        for name, fields in declared.items()
    ]
    made = dataclasses.make_dataclass("MethodFlags", fields, frozen=True)
    made.__module__ = __name__  # or cyclopts takes it for a built-in type
    flattened: type = Parameter(name="*")(made)
    return flattened


def _kind(fields: dict[str, Any]) -> Any:
    """The type of one flag; words are checked later, with all other faults."""
    kinds = []
    for field in fields.values():
        several = get_origin(field.annotation) in (Union, UnionType)
        kinds += list(get_args(field.annotation)) if several else [field.annotation]
    kinds = [str if get_origin(kind) is Literal else kind for kind in kinds if kind is not NoneType]
    return float if float in kinds else kinds[0]


def _parameter(fields: dict[str, Any]) -> Parameter:
    """The help of one flag: which methods have it, and what it does there."""
    by_text: dict[str, list[str]] = {}
    for method, field in fields.items():
        words = "|".join(choices(field))
        by_text.setdefault(f"{field.description}{f' [{words}]' if words else ''}", []).append(method)
    heading = next((h for f in fields.values() if (h := f.json_schema_extra["group"])), "")
    covered = set(heading.partition("(")[2].rstrip(")").split(", ")) if heading else set()
    usual = sorted(by_text.items(), key=lambda item: set(item[1]) != covered)  # what the heading covers first
    text = " ".join(
        description if set(methods) == covered else f"{', '.join(methods)}: {description}"
        for description, methods in usual
    )
    group = Group(heading or "Method options", sort_key=10 if heading else 5)
    return Parameter(group=group, help=text, show_default=False, consume_multiple=True, negative_iterable="")


MethodFlags = _flags_of(METHODS.values())


def given(flags: Any) -> dict[str, Any]:
    """Return the flags that were set, by name."""
    if flags is None:
        return {}
    values = {field.name: getattr(flags, field.name) for field in dataclasses.fields(flags)}
    return {name: value for name, value in values.items() if value is not None}

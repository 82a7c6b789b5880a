"""The ``zoo`` command: what pretrained networks there are, and getting them here.

Each command is a function that parses, calls one function of the library, and prints. Heavy imports
stand inside the functions, so that ``zoo --help`` answers at once.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from zoo.cli.cache import app as cache_app
from zoo.cli.console import EPILOGUE, epilogue, print_json, run, stdout

if TYPE_CHECKING:
    from zoo.features.files import Table
    from zoo.features.spaces import BackboneSpace
    from zoo.registry.registry import Entry

__all__ = ["app", "main"]

app = App(
    name="zoo",
    help="Networks pretrained on ImageNet: which there are, and getting them here.",
    help_epilogue=EPILOGUE,
    help_format="plaintext",
)
app.command(cache_app)

RegistryFile = Annotated[
    Path | None,
    Parameter(name="--registry", help="A registry of your own, laid over ours and ZOO_REGISTRY's."),
]
Json = Annotated[
    bool, Parameter(name="--json", negative="", show_default=False, help="Print JSON instead of a table.")
]
Offline = Annotated[
    bool,
    Parameter(negative="", show_default=False, help="Only what is usable here and now, without network."),
]


@app.command(
    name="list",
    help_epilogue=epilogue(
        "zoo list", "zoo list --family ConvNeXt --max-parameters 30", "zoo list --offline --json"
    ),
)
def list_models(
    *,
    family: Annotated[str | None, Parameter(help="Only this family, such as ResNet.")] = None,
    licence: Annotated[str | None, Parameter(help="Only this licence, such as Apache-2.0.")] = None,
    max_parameters: Annotated[float | None, Parameter(help="At most this many million parameters.")] = None,
    offline: Offline = False,
    json: Json = False,
    registry: RegistryFile = None,
) -> None:
    """List the networks one can ask for by name."""
    from zoo.registry.registry import load_registry
    from zoo.weights.ready import available

    entries = [
        entry
        for entry in load_registry(registry).entries
        if _same(family, entry.family)
        and _same(licence, entry.licence)
        and (max_parameters is None or (entry.parameters or float("inf")) <= max_parameters)
    ]
    here = {entry.name for entry in entries if available(entry)}
    if offline:
        entries = [entry for entry in entries if entry.name in here]
    if json:
        print_json([_as_json(entry, entry.name in here) for entry in entries])
    else:
        _print_table(entries, here)


@app.command(
    help_epilogue=epilogue("zoo show efficientnet_lite0", "zoo show hf-hub:timm/resnet50.a1_in1k --json")
)
def show(name: str, *, json: Json = False, registry: RegistryFile = None) -> None:
    """Show everything known about one network.

    Parameters
    ----------
    name:
        A name of the list, one of timm's (resnet26t.ra2_in1k), hf-hub:owner/repo, or a model's folder.
    """
    from zoo.registry.registry import load_registry, resolve
    from zoo.weights.ready import available

    entry = resolve(name, load_registry(registry))
    described = _as_json(entry, available(entry))
    if json:
        print_json(described)
        return
    described["sources"] = "\n".join(str(source) for source in entry.sources)
    _print_pairs(described)


@app.command(help_epilogue=epilogue("zoo pull efficientnet_lite0", "zoo pull resnet50 convnext_tiny"))
def pull(*names: str, registry: RegistryFile = None) -> None:
    """Fetch, verify and ready the weights of networks, so that they work offline.

    Parameters
    ----------
    names:
        One or more, written as for zoo show.
    """
    from zoo.errors import UnknownModelError
    from zoo.registry.registry import load_registry, resolve
    from zoo.weights.ready import ready

    if not names:
        raise UnknownModelError("There is nothing to pull.", "Name a network; `zoo list` shows them.")
    merged = load_registry(registry)
    # All names are looked up before the first download, so that a typing error costs no waiting.
    for entry in [resolve(name, merged) for name in names]:
        print(f"{entry.name}: fetching and verifying …", file=sys.stderr)
        model = ready(entry)
        print(f"{entry.name}  sha256 {model.sha256}  {model.folder}")


@app.command(
    help_epilogue=epilogue(
        "zoo extract efficientnet_lite0 photos/ -o features.npz",
        "zoo extract efficientnet_lite0 photos/ -o features.parquet --layer stages.2 --layer blocks.4",
        "zoo extract hf-hub:timm/resnet50.a1_in1k photos/ -o features.npy --precision bf16",
    )
)
def extract(
    model: Annotated[str, Parameter(help="A name, written as for zoo show.")],
    folder: Annotated[Path, Parameter(help="Images, in class folders or not.")],
    *,
    output: Annotated[
        Path,
        Parameter(
            name=["--output", "-o"],
            help="Where to write; ends in .npz, .npy, .parquet or .safetensors.",
        ),
    ],
    layer: Annotated[
        tuple[str, ...],
        Parameter(help="Read this stage, such as blocks.4 or stages.2, or features; may be repeated."),
    ] = (),
    pool: Annotated[str, Parameter(help="How stages are pooled: avg, max, gem or none.")] = "avg",
    engine: Annotated[
        str, Parameter(help="What runs the network: auto, openvino, onnxruntime or torch.")
    ] = "auto",
    precision: Annotated[str, Parameter(help="fp32, bf16, int8 or auto.")] = "fp32",
    exact_decoding: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Decode large JPEGs in full, as timm does.",
        ),
    ] = False,
    json: Annotated[
        bool, Parameter(negative="", show_default=False, help="Print JSON instead of a line.")
    ] = False,
    registry: RegistryFile = None,
) -> None:
    """Compute a network's features of all images below a folder.

    The file holds features (n, d) float32 with the classes (-1 for an image in no class folder), the paths,
    and what the features depend on; where several layers are read, an array for each. Files that are no
    readable images are left out and named. What was computed is kept: interrupted, the same command goes on.
    """
    from zoo.backbone import load
    from zoo.errors import DataError
    from zoo.features.files import Table, check_output, write_output
    from zoo.features.fill import fill
    from zoo.features.spaces import BackboneSpace
    from zoo.images.scan import scan
    from zoo.registry.registry import load_registry

    check_output(output)
    found = scan(folder)
    if not found.files:
        raise DataError(f"There is no image in {folder}.", "Name a folder with images.")
    backbone = load(model, registry=load_registry(registry))
    space = BackboneSpace(backbone, engine, precision, _say, layer, pool, exact_decoding)
    filled = fill(found.files, [space])
    for error in filled.skipped.values():
        print(f"skipped {error.args[0]}: {error.reason}", file=sys.stderr)
    if not len(filled):
        raise DataError(f"No file in {folder} is a readable image.", "Name a folder with images.")
    table = Table.of(filled, space, folder, model)
    write_output(output, table)
    if json:
        print_json(_summary(output, table, space))
    else:
        _print_summary(output, table)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``zoo``.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of this process.

    Returns
    -------
    int
        The exit code.
    """
    return run(app, argv)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _summary(output: Path, table: "Table", space: "BackboneSpace") -> dict[str, Any]:
    filled = table.filled
    return {
        "output": str(output),
        "images": len(table),
        "classes": table.classes,
        "widths": table.widths,
        "skipped": [{"path": error.args[0], "reason": error.reason} for error in filled.skipped.values()],
        "computed": filled.computed,
        "seconds": round(filled.seconds, 3),
        "engine": space.engine_used,
        "precision": space.precision,
    }


def _print_summary(output: Path, table: "Table") -> None:
    filled, several = table.filled, len(table.widths) > 1
    widths = ", ".join(f"{width} of {name}" for name, width in table.widths.items())
    features = f"{sum(table.widths.values())} features each" + (f" ({widths})" if several else "")
    print(f"{output}: {len(table)} images of {len(table.classes)} classes, {features}")
    if filled.computed:
        rate = filled.computed / filled.seconds
        print(f"{filled.computed} computed in {filled.seconds:.1f} s, {rate:.0f} images/s", file=sys.stderr)


def _same(wanted: str | None, value: str | None) -> bool:
    return wanted is None or (value is not None and wanted.lower() == value.lower())


def _as_json(entry: "Entry", here: bool) -> dict[str, Any]:
    return {**entry.model_dump(mode="json"), "available_offline": here}


def _print_table(entries: list["Entry"], here: set[str]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "family"):
        table.add_column(title, no_wrap=True)
    for title in ("top-1 %", "params M", "GMACs", "pixels", "features"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    table.add_column("offline", no_wrap=True)
    for entry in entries:
        numbers = (_fixed(entry.top1, 1), _fixed(entry.parameters, 1), _fixed(entry.gmacs, 2))
        shape = (_pixels(entry.input_size), str(entry.num_features or "?"))
        usable = "yes" if entry.name in here else ""
        table.add_row(entry.name, entry.family or "?", *numbers, *shape, entry.licence or "?", usable)
    stdout().print(table)
    count = "one network" if len(entries) == 1 else f"{len(entries)} networks"
    print(f"{count}, {len(here & {entry.name for entry in entries})} usable offline.", file=sys.stderr)


def _print_pairs(described: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in described.items():
        table.add_row(key.replace("_", " "), "?" if value is None else _plain(value))
    stdout().print(table)


def _plain(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _fixed(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:.{digits}f}"


def _pixels(size: int | tuple[int, int] | None) -> str:
    if size is None:
        return "?"
    return str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"

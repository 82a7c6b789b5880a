"""``zoo extract``: a network's features of a folder of images, as a file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from zoo.cli.console import print_json, print_line
from zoo.cli.options import Json, RegistryFile

if TYPE_CHECKING:
    from zoo.features.files import Table
    from zoo.features.spaces import BackboneSpace

__all__ = ["EXAMPLES", "extract"]

EXAMPLES = (
    "zoo extract efficientnet_lite0 photos/ -o features.npz",
    "zoo extract efficientnet_lite0 photos/ -o features.parquet --features stages.2 --features blocks.4:max",
    "zoo extract hf-hub:timm/resnet50.a1_in1k photos/ -o features.npy --features stages --precision bf16",
)


def extract(
    model: Annotated[str, Parameter(help="A name, as for zoo show.")],
    folder: Annotated[Path, Parameter(help="Images, in class folders or not.")],
    *,
    output: Annotated[
        Path,
        Parameter(
            name=["--output", "-o"],
            help="The file to write; ends in .npz, .npy, .parquet or .safetensors.",
        ),
    ],
    features: Annotated[
        tuple[str, ...],
        Parameter(
            help="last (the network's own output), stages (that, and the average and maximum of each stage), "
            "or a stage such as blocks.4, stages.2 or stages.2:max. May be repeated."
        ),
    ] = ("last",),
    pool: Annotated[str, Parameter(help="How stages are pooled: avg, max, gem or none.")] = "avg",
    engine: Annotated[
        str, Parameter(help="What runs the network: auto, openvino, onnxruntime or torch.")
    ] = "auto",
    precision: Annotated[str, Parameter(help="fp32, bf16, int8 or auto.")] = "fp32",
    exact_decoding: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Decode large JPEGs in full, as timm does."),
    ] = False,
    json: Json = False,
    registry: RegistryFile = None,
) -> None:
    """Compute a network's features of all images below a folder.

    The file holds features (n, d) float32 with the classes (-1 for an image in no class folder), the paths,
    and what the features depend on; where several stages are read, an array for each. Files that are not
    readable images are left out and listed. What was computed is kept: interrupted, the same command goes on.
    """
    from zoo.backbone import load
    from zoo.errors import DataError
    from zoo.features.files import Table, check_output, write_output
    from zoo.features.fill import compute
    from zoo.features.spaces import BackboneSpace
    from zoo.images.scan import scan
    from zoo.registry.registry import load_registry

    check_output(output)
    found = scan(folder)
    if not found.files:
        raise DataError(f"There is no image in {folder}.", "Name a folder with images.")
    backbone = load(model, registry=load_registry(registry))
    space = BackboneSpace(backbone, engine, precision, print_line, features, pool, exact_decoding)
    extraction = compute(found.files, [space])
    for error in extraction.skipped.values():
        print_line(f"skipped {error.args[0]}: {error.reason}")
    if not len(extraction):
        raise DataError(f"No file in {folder} is a readable image.", "Name a folder with images.")
    table = Table.of(extraction, space, folder, model)
    write_output(output, table)
    if json:
        print_json(_summary(output, table, space))
    else:
        _print_summary(output, table)


def _summary(output: Path, table: "Table", space: "BackboneSpace") -> dict[str, Any]:
    extraction = table.extraction
    return {
        "output": str(output),
        "images": len(table),
        "classes": table.classes,
        "widths": table.widths,
        "skipped": [{"path": error.args[0], "reason": error.reason} for error in extraction.skipped.values()],
        "computed": extraction.computed,
        "seconds": round(extraction.seconds, 3),
        "engine": space.engine_used,
        "precision": space.precision,
    }


def _print_summary(output: Path, table: "Table") -> None:
    extraction, several = table.extraction, len(table.widths) > 1
    widths = ", ".join(f"{width} of {name}" for name, width in table.widths.items())
    features = f"{sum(table.widths.values())} features each" + (f" ({widths})" if several else "")
    print(f"{output}: {len(table)} images of {len(table.classes)} classes, {features}")
    if extraction.computed:
        rate = extraction.computed / extraction.seconds
        print(
            f"{extraction.computed} computed in {extraction.seconds:.1f} s, {rate:.0f} images/s",
            file=sys.stderr,
        )

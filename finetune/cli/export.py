"""``finetune export``: a run's classifier as a file for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from finetune.cli.flags import Json
from finetune.cli.screen import log

if TYPE_CHECKING:
    from finetune.export import Exported

__all__ = ["export"]


def export(
    run: Annotated[Path, Parameter(help="A run folder.")],
    *,
    format: Annotated[
        Literal["onnx", "torch", "page", "timm", "hub"],
        Parameter(
            help="onnx: one file for ONNX Runtime, in any of its languages. torch: a program that torch alone"
            " loads. page: one HTML file that classifies images in a browser, offline. timm: a folder that"
            " timm opens. hub: that folder with a model card and without images, to be published."
        ),
    ] = "onnx",
    out: Annotated[
        Path | None, Parameter(help="Folder to write; by default RUN-FORMAT, beside the run.")
    ] = None,
    overwrite: Annotated[bool, Parameter(negative="", help="Replace an earlier export there.")] = False,
    data: Annotated[
        Path | None, Parameter(help="Where the run's images lie now, if they were moved.")
    ] = None,
    int8: Annotated[
        bool,
        Parameter(
            negative="",
            help="With --format onnx: 8-bit integers, calibrated on training images; prints what that costs"
            " on the held-out images.",
        ),
    ] = False,
    force: Annotated[
        bool,
        Parameter(negative="", help="With --int8: write it even if it loses more than a point of accuracy."),
    ] = False,
    json: Json = False,
) -> None:
    """Write a run's classifier for other programs.

    Network, preprocessing constants, head and calibration become one file. Sixteen training images lie
    beside it with their probabilities (golden.npz); where the file disagrees with the run about one of them
    by more than 0.0001, nothing is written.
    """
    from dataclasses import asdict

    from finetune.export import export as write
    from zoo.cli.console import print_json

    found = write(run, format, out, overwrite=overwrite, data=data, int8=int8, force=force, log=log)
    if json:
        print_json({**asdict(found), "path": str(found.path)})
    else:
        _print(found)


def _print(found: "Exported") -> None:
    from zoo.cli.console import stdout

    console = stdout()

    def line(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    line(f"{found.path}  ({found.size / 1e6:.1f} MB)")
    for what, gap in found.differences.items():
        how = "differs from" if found.int8 else "agrees with"
        line(f"{what} {how} the run: probabilities of {found.golden} training images to {gap:.1e}")
    for note in found.notes:
        line(note)
    line(f"Next: {NEXT[found.format].format(path=found.path)}")


#: How each format is opened.
NEXT = {
    "onnx": "finetune predict {path} IMAGE_OR_FOLDER",
    "torch": "torch.export.load('{path}').module()  (takes uint8 images, n x height x width x 3)",
    "page": "open {path}",
    "timm": "timm.create_model('local-dir:{path}', pretrained=True)",
    "hub": "read {path}/README.md, then: hf upload OWNER/NAME {path}  (finetune push does both)",
}

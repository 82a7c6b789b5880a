"""The ``finetune`` command: from a labelled folder to a classifier and a number to trust.

Each command is a function that parses, calls one function of the library, and prints. Heavy imports
stand inside the functions, so that ``finetune --help`` answers at once.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from zoo.console import epilogue, print_json, stdout
from zoo.console import run as run_app

__all__ = ["app", "main"]

app = App(
    name="finetune",
    help_epilogue=epilogue(
        "finetune --strategy probe",
        "finetune --strategy probe --data photos/ --out runs/first",
        "finetune --data photos/ --model efficientnet_lite2 --json > run.json",
        "finetune predict runs/first new-photos/",
    ),
    help_format="plaintext",
)

Json = Annotated[
    bool, Parameter(name="--json", negative="", help="Print JSON on standard output, and nothing else there.")
]
Engine = Annotated[str, Parameter(help="What runs the network: auto, openvino or torch.")]
Precision = Annotated[
    Literal["fp32", "bf16"],
    Parameter(help="bf16 is about twice as fast where the processor has it, and a little less exact."),
]
RegistryFile = Annotated[
    Path | None,
    Parameter(name="--registry", help="A registry of your own, laid over ours and ZOO_REGISTRY's."),
]


@app.default
def train(
    *,
    data: Annotated[
        str,
        Parameter(
            help="Folder of class folders (train/ and val/ or test/ may stand above them), a table"
            " (.csv, .tsv, .jsonl), or demo."
        ),
    ] = "demo",
    strategy: Annotated[
        str, Parameter(help="What is trained. probe: a linear classifier on the frozen network's features.")
    ] = "probe",
    model: Annotated[
        str, Parameter(help="A name from `zoo list`, one of timm's, or hf-hub:owner/repo.")
    ] = "efficientnet_lite0",
    out: Annotated[
        Path | None, Parameter(help="Folder for the run; by default a new one below runs/.")
    ] = None,
    seed: Annotated[int, Parameter(help="One seed, one result.")] = 0,
    loss: Annotated[
        str | None, Parameter(help="probe: softmax (the default) or hinge, the multi-class SVM loss.")
    ] = None,
    class_weight: Annotated[
        str | None, Parameter(help="probe: balanced lets every class count the same.")
    ] = None,
    strict: Annotated[
        bool, Parameter(negative="", help="Stop at files that are no images, instead of skipping them.")
    ] = False,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    json: Json = False,
    registry: RegistryFile = None,
) -> None:
    """From a folder of labelled images to a classifier, and a number that holds on images nobody has seen.

    With no command, trains. Everything is chosen by cross-validation on the training images; the
    held-out ones are looked at once.
    """
    from finetune.screen import print_run
    from finetune.train import fit
    from zoo.registry import load_registry

    result = fit(
        data,
        model,
        strategy,
        seed=seed,
        out=out,
        strict=strict,
        engine=engine,
        precision=precision,
        registry=load_registry(registry),
        say=_say,
        loss=loss,
        class_weight=class_weight,
    )
    if json:
        print(result.to_json(), end="")
    else:
        print_run(result, stdout())


app.command(train, name="train")


@app.command(
    help_epilogue=epilogue(
        "finetune predict runs/first new-photos/",
        "finetune predict runs/first a.jpg b.jpg --top-k 1 --json",
    )
)
def predict(
    run: Annotated[Path, Parameter(help="A run folder.")],
    images: Annotated[list[Path], Parameter(help="Images, and folders of images.")],
    *,
    top_k: Annotated[int, Parameter(help="How many classes to show for each image.")] = 3,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    json: Json = False,
) -> int:
    """Classify images with a finished run.

    Files that are no readable images are named on standard error; the exit code is 2 if none could be
    read.
    """
    from finetune.predictor import load
    from zoo.folder import scan

    predictor = load(run, engine=engine, precision=precision)
    paths = [path for given in images for path in (scan(given).files if given.is_dir() else [given])]
    if not paths:
        _say("There are no images there. Name image files, or folders with some.")
        return 2
    seen = predictor.see(paths)
    rows = [
        {
            "path": str(path),
            "prediction": predictor.classes[order[0]],
            "probability": float(p[order[0]]),
            "top": [{"class": predictor.classes[i], "probability": float(p[i])} for i in order[:top_k]],
            "logits": logits.tolist(),
        }
        for path, p, logits, order in zip(
            seen.paths,
            seen.probabilities,
            seen.logits,
            (-seen.logits).argsort(axis=1, kind="stable"),
            strict=True,
        )
    ]
    if json:
        skipped = [{"path": e.args[0], "reason": e.reason} for e in seen.skipped]
        print_json({"classes": list(predictor.classes), "predictions": rows, "skipped": skipped})
    else:
        _print_predictions(rows)
        for error in seen.skipped:
            _say(str(error))
    return 0 if rows else 2


@app.command(help_epilogue=epilogue("finetune report runs/first"))
def report(run: Annotated[Path, Parameter(help="A run folder.")]) -> None:
    """Write a run's report.html anew."""
    from finetune.report import write_report
    from finetune.runs import Run

    print(write_report(Run.load(run), run))


def _print_predictions(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("image", "prediction", "also", box=None, pad_edge=False)
    for row in rows:
        best, *others = row["top"]
        also = ", ".join(f"{other['class']} {other['probability']:.1%}" for other in others)
        table.add_row(escape(row["path"]), escape(f"{best['class']} {best['probability']:.1%}"), escape(also))
    if rows:
        stdout().print(table)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``finetune`` command and return its exit code: 0, or 2 for what the user can mend.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of this process.

    Returns
    -------
    int
    """
    return run_app(app, argv)

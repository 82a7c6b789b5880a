"""The ``finetune`` command: from a labelled folder to a classifier and a number to trust.

Each command is a function that parses, calls one function of the library, and prints. Heavy imports
stand inside the functions, so that ``finetune --help`` answers at once.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from finetune.cli.flags import ProbeFlags, TrainingFlags, given
from zoo.cli.console import epilogue, print_json, stdout
from zoo.cli.console import run as run_app

if TYPE_CHECKING:
    from finetune.runs import Run

__all__ = ["app", "main"]

app = App(
    name="finetune",
    help_epilogue=epilogue(
        "finetune --strategy probe",
        "finetune --strategy probe --data photos/ --out runs/first",
        "finetune --strategy last-layers --data photos/ --layers 2",
        "finetune --strategy full --data photos/ --epochs 10",
        "finetune --data photos/ --model efficientnet_lite2 --json > run.json",
        "finetune predict runs/first new-photos/",
    ),
    help_format="plaintext",
)

Json = Annotated[
    bool, Parameter(name="--json", negative="", help="Print JSON on standard output, and nothing else there.")
]
Engine = Annotated[str, Parameter(help="What runs the network: auto, openvino, onnxruntime or torch.")]
Precision = Annotated[
    Literal["fp32", "bf16", "int8", "auto"],
    Parameter(
        help="bf16 is faster where the processor has it, and a little less exact, int8 more so; auto takes"
        " bf16 where it is exact enough."
    ),
]
Data = Annotated[
    str,
    Parameter(
        help="Folder of class folders (train/ and val/ or test/ may stand above them), a table"
        " (.csv, .tsv, .jsonl), or demo."
    ),
]
Model = Annotated[str, Parameter(help="A name from `zoo list`, one of timm's, or hf-hub:owner/repo.")]
Out = Annotated[Path | None, Parameter(help="Folder for the run; by default a new one below runs/.")]
Seed = Annotated[int, Parameter(help="One seed, one result.")]
Strict = Annotated[
    bool, Parameter(negative="", help="Stop at files that are no images, instead of skipping them.")
]
RegistryFile = Annotated[
    Path | None,
    Parameter(name="--registry", help="A registry of your own, laid over ours and ZOO_REGISTRY's."),
]


@app.default
def train(
    *,
    data: Data = "demo",
    strategy: Annotated[
        str,
        Parameter(
            help="What is trained. probe: a linear classifier on the frozen network's features. last-layers:"
            " the network's last stage too. full: all of it."
        ),
    ] = "probe",
    model: Model = "efficientnet_lite0",
    out: Out = None,
    seed: Seed = 0,
    probe: ProbeFlags | None = None,
    training: TrainingFlags | None = None,
    strict: Strict = False,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    json: Json = False,
    registry: RegistryFile = None,
) -> None:
    """From a folder of labelled images to a classifier, and a number that holds on images nobody has seen.

    With no command, trains. Everything is chosen by cross-validation on the training images; the
    held-out ones are looked at once.
    """
    from finetune.train import fit
    from zoo.registry.registry import load_registry

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
        **given(probe, training),
    )
    _print_result(result, json)


app.command(train, name="train")


@app.command(
    help_epilogue=epilogue(
        "finetune search --strategy probe --data photos/",
        "finetune search --strategy probe --head mlp --activation maxout --trials 200 --data photos/",
        "finetune search --strategy last-layers --minutes 5 --data photos/",
        "finetune search --strategy full --over rate weight_decay layer_decay --data photos/",
    )
)
def search(
    *,
    data: Data = "demo",
    strategy: Annotated[
        str, Parameter(help="What is trained: probe, last-layers or full, as without a search.")
    ] = "probe",
    trials: Annotated[
        int | None, Parameter(help="How many there are at most; by default 100 for a probe, 24 for others.")
    ] = None,
    minutes: Annotated[
        float | None,
        Parameter(help="How long they may take; the training with what was found comes on top."),
    ] = None,
    over: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            help="Parameters to search. probe: rate, l2, hidden, activation, and with --head linear l2, loss."
            " Others: rate, weight_decay, batch, and if named smoothing, layer_decay, layers.",
        ),
    ] = None,
    model: Model = "efficientnet_lite0",
    out: Out = None,
    seed: Seed = 0,
    probe: ProbeFlags | None = None,
    training: TrainingFlags | None = None,
    strict: Strict = False,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    json: Json = False,
    registry: RegistryFile = None,
) -> None:
    """Search for a training's settings, from many short trials to a few long ones, and train with the best.

    What is given stays as it is; the defaults are tried too, so that the result is no worse by the same
    score. Trials are judged on folds of the training images; held-out images are looked at once, at the
    end. Stopped, it goes on with `finetune resume`.
    """
    from finetune.train import fit
    from zoo.registry.registry import load_registry

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
        search={"trials": trials, "minutes": minutes, "over": over},
        **given(probe, training),
    )
    _print_result(result, json)


@app.command(help_epilogue=epilogue("finetune resume runs/photos-full-001"))
def resume(
    run: Annotated[Path, Parameter(help="The run, as it was named when the training began.")],
    *,
    json: Json = False,
    registry: RegistryFile = None,
) -> None:
    """Go on with a training that was interrupted; the result is that of one never stopped."""
    from finetune import train as room
    from zoo.registry.registry import load_registry

    result = room.resume(run, registry=load_registry(registry), say=_say)
    _print_result(result, json)


@app.command(
    help_epilogue=epilogue(
        "finetune baseline knn --data photos/",
        "finetune baseline svm --data photos/ --out runs/svm --json",
        "finetune baseline knn --data photos/ --distance cosine --max-k 20",
    )
)
def baseline(
    method: Annotated[
        str, Parameter(help="knn: the nearest training images vote; svm: a linear support vector machine.")
    ],
    *,
    data: Data = "demo",
    model: Model = "efficientnet_lite0",
    out: Out = None,
    seed: Seed = 0,
    max_k: Annotated[int | None, Parameter(help="knn: the most neighbours to try (50).")] = None,
    distance: Annotated[str | None, Parameter(help="knn: l1, l2 or cosine, instead of trying all.")] = None,
    weights: Annotated[
        str | None, Parameter(help="knn: uniform or distance (a vote counts 1 / distance), instead of both.")
    ] = None,
    class_weight: Annotated[
        str | None, Parameter(help="svm: balanced lets every class count the same.")
    ] = None,
    strict: Strict = False,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    json: Json = False,
    registry: RegistryFile = None,
) -> None:
    """Fit what a strategy must beat, on the same features, images and folds; the run is an ordinary one."""
    from finetune.baselines import BASELINES
    from finetune.methods import check_methods
    from finetune.train import fit
    from zoo.registry.registry import load_registry

    check_methods([method], BASELINES)
    result = fit(
        data,
        model,
        method,
        seed=seed,
        out=out,
        strict=strict,
        engine=engine,
        precision=precision,
        registry=load_registry(registry),
        say=_say,
        max_k=max_k,
        distance=distance,
        weights=weights,
        class_weight=class_weight,
    )
    _print_result(result, json)


@app.command(
    help_epilogue=epilogue(
        "finetune compare --data photos/",
        "finetune compare --data photos/ --methods svm probe --model efficientnet_lite0 resnet50",
        "finetune compare --data photos/ --group-by '([a-z]+)-[0-9]+' --markdown table.md",
    )
)
def compare(
    *,
    data: Data = "demo",
    model: Annotated[
        list[str] | None, Parameter(consume_multiple=True, help="Networks, as for training; one or several.")
    ] = None,
    methods: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, help="Strategies, baselines and floors; by default all quick ones."),
    ] = None,
    repeats: Annotated[
        int | None,
        Parameter(
            help="How often the training part is dealt into folds; 0 for no folds. By default 3, and 1 for"
            " methods that train the network itself."
        ),
    ] = None,
    folds: Annotated[int, Parameter(help="Folds in a repetition.")] = 5,
    group_by: Annotated[
        str | None,
        Parameter(
            help="A column of the table, or a pattern whose first (group) names the subject in an image's"
            " path: images of one subject never straddle a split."
        ),
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        Parameter(help="Folder for what is done, and not done again; by default runs/<data>-compare."),
    ] = None,
    json: Json = False,
    csv: Annotated[Path | None, Parameter(help="Write the table there as CSV.")] = None,
    markdown: Annotated[Path | None, Parameter(help="Write the table there as Markdown.")] = None,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    registry: RegistryFile = None,
) -> int:
    """Compare methods on the same held-out images and the same folds, and say which differ.

    The exit code is 1 if a network could not be had and the others were compared without it.
    """
    from finetune import compare as room
    from finetune.compare.tables import print_comparison, to_csv, to_markdown
    from finetune.train import DEFAULT_MODEL
    from zoo.registry.registry import load_registry

    found = room.compare(
        data,
        model or [DEFAULT_MODEL],
        methods or room.DEFAULT_METHODS,
        repeats=repeats,
        n_folds=folds,
        group_by=group_by,
        seed=seed,
        out=out,
        engine=engine,
        precision=precision,
        registry=load_registry(registry),
        say=_say,
    )
    for path, text in ((csv, to_csv), (markdown, to_markdown)):
        if path is not None:
            _write(path, text(found))
    if json:
        print_json(found.to_dict())
    else:
        print_comparison(found, stdout())
    return 1 if found.failed else 0


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
    from finetune.runs.predictor import load
    from zoo.images.scan import scan

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


@app.command(
    help_epilogue=epilogue(
        "finetune check --data photos/",
        "finetune check --data photos/ --model efficientnet_lite2 --json > check.json",
        "finetune check --data photos/ --strategy last-layers --layers 2 --rate 0.001",
    )
)
def check(
    *,
    data: Data = "demo",
    model: Model = "efficientnet_lite0",
    strategy: Annotated[str, Parameter(help="What you mean to train.")] = "probe",
    out: Annotated[
        Path | None, Parameter(help="Folder for what is found; by default a new one below runs/.")
    ] = None,
    seed: Seed = 0,
    probe: ProbeFlags | None = None,
    training: TrainingFlags | None = None,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    json: Json = False,
    registry: RegistryFile = None,
) -> int:
    """Look for what would spoil a training: in the images, their labels, and the mathematics.

    Each line says what was found, what it should be, and what to do. The exit code is 1 if a check fails.
    """
    from finetune import checks
    from finetune.checks.tables import print_checks
    from zoo.registry.registry import load_registry

    found = checks.check(
        data,
        model,
        strategy,
        seed=seed,
        out=out,
        engine=engine,
        precision=precision,
        registry=load_registry(registry),
        say=_say,
        **given(probe, training),
    )
    if json:
        print_json(found.to_dict())
    else:
        print_checks(found, stdout())
    return 1 if found.status == "fail" else 0


@app.command(help_epilogue=epilogue("finetune report runs/first"))
def report(run: Annotated[Path, Parameter(help="A run folder.")]) -> None:
    """Write a run's report.html anew."""
    from finetune.report import write_report
    from finetune.runs import Run

    print(write_report(Run.load(run), run))


def _print_result(run: "Run", json: bool) -> None:
    from finetune.cli.screen import print_run
    from finetune.train import is_follower

    if is_follower():
        return
    if json:
        print(run.to_json(), end="")
    else:
        print_run(run, stdout())


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


def _write(path: Path, text: str) -> None:
    from finetune.errors import RunError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}).", "Choose another place.") from error


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

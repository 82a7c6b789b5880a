"""``finetune predict``: classify images with a finished run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

from cyclopts import Parameter

from finetune.cli.flags import Engine, Json, Precision
from finetune.cli.screen import log

__all__ = ["predict"]


def predict(
    run: Annotated[Path, Parameter(help="A run folder, or a model that `finetune export` wrote.")],
    images: Annotated[
        list[str],
        Parameter(
            allow_leading_hyphen=True,
            negative_iterable="",
            help="Images, folders, patterns such as 'photos/**/*.jpg', and - for a list of paths on standard"
            " input.",
        ),
    ],
    *,
    top: Annotated[int, Parameter(help="How many classes to show for each image.")] = 3,
    coverage: Annotated[
        float | None,
        Parameter(help="Show a set of classes that holds the true one with this probability, such as 0.95."),
    ] = None,
    reject: Annotated[
        float | None,
        Parameter(
            help="Answer `none of these` for images unlike anything in training: 0.05 does so for 5 of 100"
            " images that are like it, too."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Parameter(
            name=["--out", "-o"], help="Write there: .csv, .jsonl, .json or .txt; whole or not at all."
        ),
    ] = None,
    format: Annotated[
        str | None,
        Parameter(
            help="text, csv, jsonl (one JSON object an image) or json (one document); by default text, or"
            " what the suffix of --out says."
        ),
    ] = None,
    overwrite: Annotated[bool, Parameter(negative="", help="Replace the file if it exists.")] = False,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    json: Json = False,
) -> int:
    """Classify images with a finished run.

    Rows are written as they come, and memory does not grow with their number. An image that cannot be read
    gets a row with the reason; the exit code is 2 if none could be read.
    """
    from finetune.errors import OptionError
    from finetune.export.predictor import load
    from finetune.predictions.paths import STANDARD_INPUT, image_paths
    from finetune.predictions.rows import Detail, knowledge_of, prediction_rows
    from finetune.predictions.writers import FORMATS, format_of
    from zoo.progress import progress

    kind = format_of("json" if json else format, out)
    for word in images:
        if word.startswith("-") and word != STANDARD_INPUT:
            raise OptionError(
                f"There is no option {word}.", f"See `finetune predict --help`; a file: ./{word}."
            )
    if top < 1:
        raise OptionError(f"--top is {top}.", "Give 1 or more.")
    _check_out(out, overwrite)
    predictor = load(run, engine=engine, precision=precision)
    paths = image_paths(images)
    detail = Detail(top, coverage, reject)
    chunks = prediction_rows(predictor, paths, knowledge_of(predictor), detail)
    # Taken now: a progress bar puts its own file in the place of standard output.
    with _opened(out, sys.stdout) as file:
        writer = FORMATS[kind](file, predictor.classes, paths, detail)
        on_screen = out is None and file.isatty()  # the rows themselves then show how far it is
        with progress("predicting", 0 if on_screen else len(paths)) as advance:
            for rows in chunks:
                writer.write(rows)
                advance(len(rows))
        writer.close()
    counts = writer.counts
    if counts["unreadable"]:
        log(f"{counts['unreadable']} of {len(paths)} images could not be read; their rows say why.")
    if out is not None:
        log(f"{counts['predicted']} predictions are in {out}.")
    return 0 if counts["predicted"] else 2


def _check_out(out: Path | None, overwrite: bool) -> None:
    from finetune.errors import OptionError

    if out is None:
        return
    if out.exists() and not overwrite:
        raise OptionError(f"{out} exists.", "Choose another file, or add --overwrite.")
    if not out.parent.is_dir():
        raise OptionError(f"There is no folder {out.parent} to write {out.name} in.", "Make it first.")


@contextmanager
def _opened(out: Path | None, stdout: TextIO) -> Iterator[TextIO]:
    """Give the file to write to; one on disk takes its place when it is complete."""
    from finetune.errors import RunError
    from zoo.writing import atomic_file

    if out is None:
        yield stdout
        return
    try:
        with atomic_file(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise RunError(
            f"{out} cannot be written ({error.strerror or error}).", "Choose another place."
        ) from error

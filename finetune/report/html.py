"""``report.html``: one page, complete in itself, without scripts."""

import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.evaluation.intervals import wilson
from finetune.evaluation.metrics import ClassScores
from finetune.report.charts import curve
from finetune.report.mistakes import worst_mistakes
from finetune.runs import Run, read_predictions

__all__ = ["write_report"]

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Confusion:
    """How often images of one class were called another."""

    truth: str
    prediction: str
    times: int


@dataclass(frozen=True)
class ClassRow:
    """One class in the table of classes; `images` counts training and test together."""

    name: str
    images: int
    scores: ClassScores
    recall95: tuple[float, float]


def write_report(run: Run, folder: str | os.PathLike[str]) -> Path:
    """Write the page of a run.

    The page needs no other file and no network. Thumbnails of the worst mistakes are made from the images
    that ``predictions.csv`` names, as far as they are still there.

    Parameters
    ----------
    run : Run
        What to show.
    folder : path
        Where to write ``report.html``; ``predictions.csv`` is read from there if it exists.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    RunError
        Where ``predictions.csv`` is damaged.
    """
    # Imported here: a run that needs no report, such as a prediction, shouldn't wait for Jinja.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(folder)
    predictions = read_predictions(folder) if (folder / "predictions.csv").exists() else []
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,  # class names and paths are strangers' text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["percent"] = _percent
    page = templates.get_template("report.html.j2").render(
        run=run,
        curve=curve(run.choice),
        confusions=_confusions(run),
        shares=_shares(run.test.confusion),
        rows=_class_rows(run),
        n_wrong=sum(not prediction.correct for prediction in predictions),
        chance_loss=math.log(len(run.data.classes)),
        run_word=shlex.quote(str(run.path)),
        mistakes=worst_mistakes(predictions, Path(run.data.path)),
        chosen={key: value for key, value in run.choice.items() if not isinstance(value, list | dict)},
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}%"


def _confusions(run: Run, most: int = 10) -> list[Confusion]:
    """List the commonest confusions; in a large matrix nobody finds them otherwise."""
    names = run.data.classes
    pairs = [
        Confusion(names[t], names[p], times)
        for t, row in enumerate(run.test.confusion)
        for p, times in enumerate(row)
        if times and t != p
    ]
    return sorted(pairs, key=lambda pair: -pair.times)[:most]


def _shares(confusion: Sequence[Sequence[int]]) -> list[list[int]]:
    """Divide each row by its sum, in percent: large and small classes are shaded alike."""
    return [[round(100 * count / (sum(row) or 1)) for count in row] for row in confusion]


def _class_rows(run: Run) -> list[ClassRow]:
    """Gather the table of classes, the worst recognised first."""
    rows = [
        ClassRow(name, run.data.counts[name], scores, wilson(run.test.confusion[i][i], scores.support))
        for i, (name, scores) in enumerate(run.test.per_class.items())
    ]
    return sorted(rows, key=lambda row: row.scores.f1)

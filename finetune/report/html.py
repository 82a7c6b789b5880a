"""``report.html``: one page, complete in itself."""

import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.errors import RunError
from finetune.report import classes
from finetune.report.calibration import calibration_curve
from finetune.report.charts import Axis, Bar, bar_chart
from finetune.report.curves import curve, lr_trials, trained_on_all, training_curves
from finetune.report.findings import findings
from finetune.report.images import shown_images
from finetune.report.map_section import map_section
from finetune.report.pages import TEMPLATES, percent, render
from finetune.report.sections import Section, tried
from finetune.report.summary import checked, next_steps, trust_points
from finetune.runs import Run, read_metrics, read_predictions
from zoo.writing import write_text

__all__ = ["TEMPLATES", "write_report"]


def write_report(run: Run, folder: str | os.PathLike[str], sections: Sequence[Section] = ()) -> Path:
    """Write the page of a run.

    The page needs no other file and no network. Thumbnails and heat maps are made from the images that
    ``predictions.csv`` names, as far as they are still there, and from the model in the folder.

    Parameters
    ----------
    run : Run
        What to show.
    folder : path
        Where to write ``report.html``; ``predictions.csv``, ``metrics.jsonl``, the map of the features and
        the model are read from there as far as they exist.
    sections : sequence of Section, optional
        Further parts of the page, behind the first screen.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    RunError
        Where one of these files is damaged, or the page cannot be written.
    """
    folder = Path(folder)
    predictions = read_predictions(folder) if (folder / "predictions.csv").exists() else []
    board = [] if run.leaderboard is None else [tried(run.leaderboard)]
    metrics = read_metrics(folder)
    rows = classes.class_rows(run)
    mapped = map_section(folder, run.data.classes, predictions)
    values = {
        "run": run,
        "percent": percent,
        "trust": trust_points(run),
        "checked": checked(run),
        "steps": next_steps(run),
        "sections": [*board, *sections],
        "accuracies": _accuracies(run),
        "curve": curve(run.choice),
        "training": training_curves(run.choice, metrics),
        "trained_on_all": trained_on_all(metrics),
        "lr_trials": lr_trials(run.choice),
        "confusions": classes.confusions(run),
        "shares": classes.shares(run.test.confusion),
        "rows": rows,
        "class_chart": classes.class_chart(rows),
        "most_bars": classes.MOST,
        "calibration": calibration_curve(predictions),
        "images": shown_images(predictions, run, folder),
        "n_wrong": sum(not prediction.correct for prediction in predictions),
        "map": mapped,
        "script": (TEMPLATES / "map.js").read_text(encoding="utf-8") if mapped else "",
        "chance_loss": math.log(len(run.data.classes)),
        "run_word": shlex.quote(str(run.path)),
        "findings": findings(run.data.notices, Path(run.data.path)),
        "chosen": _chosen(run),
    }
    path = folder / "report.html"
    page = render("report.html.j2", values)
    try:
        write_text(path, page)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}).", "Free some space there."
        ) from error
    return path


def _chosen(run: Run) -> dict[str, Any]:
    """What was chosen, as far as it is a plain value."""
    scores = ("cv_accuracy", "cv_std")
    return {
        key: value
        for key, value in run.choice.items()
        if not isinstance(value, list | dict) and key not in scores and value is not None
    }


def _accuracies(run: Run) -> str:
    """Draw the held-out accuracy with its interval, and what is reached without a CNN."""
    test, raw = run.test, run.reference.raw_pixels_accuracy
    bars = [Bar("this model", test.accuracy, *test.ci95)]
    if test.without_copies is not None:
        rest = test.without_copies
        bars.append(Bar("without copies of training images", rest.accuracy, *rest.ci95))
    if raw is not None:
        bars.append(Bar("no CNN: linear, on 32 x 32 pixels", raw))
    bars.append(Bar("majority class", run.reference.majority_accuracy))
    return bar_chart(bars, Axis("accuracy", percent=True, high=1.0), "Accuracy, beside what needs no CNN")

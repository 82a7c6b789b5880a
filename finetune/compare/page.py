"""``compare.html``: the verdict, the table with intervals, the folds, and which pairs differ."""

from __future__ import annotations

from pathlib import Path

from finetune.compare.record import Comparison, MethodResult, Pair
from finetune.compare.tables import method_costs, notes
from finetune.compare.verdict import labels
from finetune.report.charts import Axis, Point, Series, chart
from finetune.report.pages import percent, render
from finetune.report.sections import Section, Table, leaderboard
from finetune.runs.machine import Environment

__all__ = ["page"]

TEMPLATES = Path(__file__).parent / "templates"

#: Letters up to which the longest name, as often as there are methods, fits below the chart of the folds.
MOST_LETTERS = 52


def page(found: Comparison, command: str, made_on: Environment) -> str:
    """Return the page, which needs no other file and no script.

    Parameters
    ----------
    found : Comparison
    command : str
        What repeats it.
    made_on : Environment
        Machine and versions.
    """
    sections = [_table(found), *_folds(found), *_pairs(found.pairs)]
    values = {
        "found": found,
        "command": command,
        "environment": made_on,
        "percent": percent,
        "best": found.methods[0],
        "notes": notes(found),
        "sections": sections,
    }
    return render("compare.html.j2", values, TEMPLATES)


def _table(found: Comparison) -> Section:
    names = labels(found.methods)
    rows = [
        (name, r.test.accuracy, *r.test.ci95, _fold_words(r), f"{r.test.macro_f1:.3f}", *method_costs(r))
        for name, r in zip(names, found.methods, strict=True)
    ]
    headings = ["folds", "macro F1", "training s", "parameters", "model"]
    alike = [i for i, name in enumerate(names) if i == 0 or name in found.like_best]
    text = ["In bold: the best, and those that do not differ from it significantly."]
    return leaderboard(rows, headings, title="Held-out images", text=text, best=alike)


def _fold_words(r: MethodResult) -> str:
    return f"{r.folds.mean:.1%} ± {r.folds.std:.1%}" if r.folds else ""


def _folds(found: Comparison) -> list[Section]:
    """Draw the accuracy on every fold, where there are folds."""
    named = zip(labels(found.methods), found.methods, strict=True)
    measured = [(name, r.folds) for name, r in named if r.folds]
    if not measured:
        return []
    numbered = len(measured) * max(len(name) for name, _ in measured) > MOST_LETTERS
    places = [str(i + 1) if numbered else name for i, (name, _) in enumerate(measured)]
    points = [
        Point(place, accuracy, title=f"{name}: {accuracy:.1%}", mark="hollow")
        for place, (name, folds) in zip(places, measured, strict=True)
        for accuracy in folds.accuracies
    ]
    means = [
        Point(place, folds.mean, title=f"{name}: {folds.mean:.1%} on average", mark="diamond")
        for place, (name, folds) in zip(places, measured, strict=True)
    ]
    drawn = chart(
        [Series(points, "a fold", joined=False), Series(means, "mean", joined=False)],
        Axis("method, in the order of the table" if numbered else "method", categories=tuple(places)),
        Axis("accuracy", percent=True),
        "Accuracy on each fold of the training images, for each method",
    )
    text = "Accuracy on each fold of the training images, with every choice made outside the fold."
    return [Section("Folds", (text,), (drawn,))]


def _pairs(tested: list[Pair]) -> list[Section]:
    if not tested:
        return []
    rows = [
        [
            f"{pair.a} and {pair.b}",
            f"{pair.held_out.only_a} : {pair.held_out.only_b}",
            "< 0.001" if pair.held_out.p_holm < 0.001 else f"{pair.held_out.p_holm:.3f}",
            _difference(pair),
            "different" if pair.different else "not shown to differ",
        ]
        for pair in tested
    ]
    headings = ("", "only one is right", "p", "difference on the folds", "")
    text = (
        "On the held-out images: how many only the first and only the second predicts correctly, and the "
        "p-value of McNemar's exact test after Holm's adjustment for all pairs. It alone decides; the folds "
        "are a second opinion."
    )
    return [Section("Which differ", (text,), table=Table(headings, rows, (1, 2, 3)))]


def _difference(pair: Pair) -> str:
    if pair.folds is None:
        return ""
    lo, hi = pair.folds.ci95
    return f"{100 * pair.folds.difference:+.1f} points ({100 * lo:+.1f} to {100 * hi:+.1f})"

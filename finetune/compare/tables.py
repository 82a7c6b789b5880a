"""The table, for people: on the screen, as Markdown, as CSV."""

import csv
import io
from typing import TYPE_CHECKING

from finetune.compare.record import Comparison, MethodResult
from finetune.compare.verdict import labels

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["method_costs", "notes", "print_comparison", "to_csv", "to_markdown"]

BEST, LIKE = "best", "≈ best"

HEADINGS = (
    "method",
    "accuracy",
    "95% interval",
    "folds",
    "balanced",
    "macro F1",
    "calibration error",
    "training s",
    "parameters",
    "model",
    "",
)

COLUMNS = (
    "method",
    "model",
    "n",
    "accuracy",
    "ci95_low",
    "ci95_high",
    "folds_mean",
    "folds_std",
    "balanced_accuracy",
    "macro_f1",
    "log_loss",
    "ece",
    "seconds",
    "n_parameters",
    "model_bytes",
    "best",
    "like_best",
)


def print_comparison(found: Comparison, console: "Console") -> None:
    """Print the table, the verdict and the advice.

    Parameters
    ----------
    found : Comparison
    console : rich.console.Console
        Where to print.
    """
    from zoo.cli.console import escape, ranking

    table = ranking(HEADINGS)
    for i, row in enumerate(_rows(found)):
        table.add_row(*map(escape, row), style="bold" if i == 0 else None)
    console.print()
    console.print(table)
    console.print()
    console.print(escape(found.verdict))
    for note in notes(found):
        console.print(f"[yellow]Note:[/] {escape(note)}")
    for model, reason in found.failed.items():
        console.print(f"[yellow]Left out {escape(model)}:[/] {escape(reason)}")
    console.print(f"[bold]Advice:[/] {escape(found.advice)}")


def to_markdown(found: Comparison) -> str:
    """Return the table, the verdict and the advice as Markdown."""
    from zoo.markdown import escape

    lines = [HEADINGS, tuple("---" if i in (0, len(HEADINGS) - 1) else "---:" for i in range(len(HEADINGS)))]
    lines += [tuple(map(escape, row)) for row in _rows(found)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    remarks = [f"Note: {note}" for note in notes(found)]
    remarks += [f"Left out {model}: {reason}" for model, reason in found.failed.items()]
    about = (
        f"{found.data}: {found.n_train} training and {found.n_test} held-out images "
        f"of {found.n_classes} classes, split {found.split}, seed {found.seed}."
    )
    texts = (found.verdict, *remarks, f"Advice: {found.advice}", about)
    return "\n\n".join([table, *map(escape, texts)]) + "\n"


def to_csv(found: Comparison) -> str:
    """Return the table as CSV, numbers in full."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for i, (label, result) in enumerate(zip(labels(found.methods), found.methods, strict=True)):
        rows.writerow([*_numbers(result), int(i == 0), int(label in found.like_best)])
    return text.getvalue()


def notes(found: Comparison) -> list[str]:
    """Return warnings: of all that was compared, then of each method."""
    own = zip(labels(found.methods), found.methods, strict=True)
    return [*found.warnings, *(f"{name}: {warning}" for name, result in own for warning in result.warnings)]


def _rows(found: Comparison) -> list[tuple[str, ...]]:
    names = labels(found.methods)
    marks = [BEST, *(LIKE if name in found.like_best else "" for name in names[1:])]
    return [_row(name, result, mark) for name, result, mark in zip(names, found.methods, marks, strict=True)]


def _row(name: str, r: MethodResult, mark: str) -> tuple[str, ...]:
    lo, hi = r.test.ci95
    return (
        name,
        f"{r.test.accuracy:.1%}",
        f"{lo:.1%} to {hi:.1%}",
        f"{r.folds.mean:.1%} ± {r.folds.std:.1%}" if r.folds else "",
        f"{r.test.balanced_accuracy:.1%}",
        f"{r.test.macro_f1:.3f}",
        f"{r.test.ece:.3f}",
        *method_costs(r),
        mark,
    )


def method_costs(r: MethodResult) -> tuple[str, str, str]:
    """Return seconds of training, parameters and bytes of the model, as they are printed."""
    return f"{r.seconds:.2f}", _short(r.n_parameters, ""), _short(r.model_bytes, "B")


def _numbers(r: MethodResult) -> list[object]:
    folds = (r.folds.mean, r.folds.std) if r.folds else ("", "")
    measures = (r.test.balanced_accuracy, r.test.macro_f1, r.test.log_loss, r.test.ece)
    costs = (r.seconds, r.n_parameters, r.model_bytes)
    return [r.name, r.model or "", r.test.n, r.test.accuracy, *r.test.ci95, *folds, *measures, *costs]


def _short(number: float, unit: str) -> str:
    """1,234,567 as 1.2 M."""
    for prefix in ("", "k", "M", "G"):
        if number < 1000:
            return (f"{number:.0f}" if not prefix else f"{number:.1f}") + f" {prefix}{unit}".rstrip()
        number /= 1000
    return f"{number:.1f} T{unit}"

"""What a person reads: lines while a command runs, and a run's result at its end."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from finetune.runs import Run

__all__ = ["log", "print_result", "print_run", "reliance"]


def log(line: str) -> None:
    """Print a line on standard error."""
    from zoo.cli.console import print_line

    print_line(line)


def print_result(run: Run, json: bool) -> None:
    """Print a run as JSON or for a person; of several processes, the first one only."""
    from finetune.train import is_follower
    from zoo.cli.console import stdout

    if is_follower():
        return
    if json:
        print(run.to_json(), end="")
    else:
        print_run(run, stdout())


def print_run(run: Run, console: Console) -> None:
    """Print a run's result: the number to trust first, then how it came about, then what to do next.

    Parameters
    ----------
    run : Run
    console : rich.console.Console
        Where to print.
    """
    from rich.table import Table

    from zoo.cli.console import escape

    console.print()
    console.print(f"[bold]{run.strategy}[/] on {escape(run.model)}: {_trained_on(run)}")
    for warning in run.warnings:
        console.print(f"[yellow]Note:[/] {escape(warning)}", soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column()
    lo, hi = run.test.ci95
    table.add_row(
        "[bold]held-out accuracy[/]",
        f"[bold]{run.test.accuracy:.1%}[/]",
        f"95% interval {lo:.1%} to {hi:.1%}, {run.test.n} images evaluated once" + _effective(run),
    )
    if run.test.without_copies is not None:
        rest = run.test.without_copies
        lo, hi = rest.ci95
        note = f"95% interval {lo:.1%} to {hi:.1%}, {rest.n} images without a copy in training"
        table.add_row("  without copies", f"{rest.accuracy:.1%}", note)
    cv, sd = run.choice["cv_accuracy"], run.choice["cv_std"]
    if isinstance(cv, float) and isinstance(sd, float):
        table.add_row(
            "cross-validation",
            f"{cv:.1%}",
            "; ".join(filter(None, [f"± {sd:.1%} over {run.choice.get('cv_folds')} folds", _choice(run)])),
        )
    if "features_tried" in run.choice:
        table.add_row("features", str(run.choice["features"]), _features(run))
    if "validation_accuracy" in run.choice:
        table.add_row("inner validation", f"{run.choice['validation_accuracy']:.1%}", _training(run))
    if run.reference.raw_pixels_accuracy is not None:
        table.add_row(
            "without the CNN",
            f"{run.reference.raw_pixels_accuracy:.1%}",
            "linear classifier on 32 x 32 pixels",
        )
    table.add_row("majority class", f"{run.reference.majority_accuracy:.1%}", "always predicted")
    table.add_row(
        "balanced accuracy",
        f"{run.test.balanced_accuracy:.1%}",
        f"macro F1 {run.test.macro_f1:.3f}, log loss {run.test.log_loss:.3f}, "
        f"calibration error {run.test.ece:.3f}",
    )
    console.print(table)
    _print_skipped(run, console)
    console.print(escape(reliance(run)), soft_wrap=True)
    phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.seconds.items() if name != "total")
    console.print(f"{run.seconds['total']:.1f} s: {phases}", highlight=False)
    if "search" in run.choice:
        _print_search(run, console)
    folder = shlex.quote(str(run.path))
    console.print(f"\nRun: {escape(folder)}", soft_wrap=True)
    console.print("Next:", escape(f"finetune predict {folder} IMAGE_OR_FOLDER"), soft_wrap=True)
    console.print("     ", escape(f"open {folder}/report.html  (mistakes, classes, curves)"), soft_wrap=True)
    if run.hint:
        console.print(escape(run.hint), soft_wrap=True)


def reliance(run: Run) -> str:
    """Return in a sentence or two what a user may rely on."""
    from finetune.trust import load_sets

    best = run.test.without_copies or run.test
    lo, hi = best.ci95
    text = f"On images like these, expect an accuracy of {lo:.0%} to {hi:.0%}."
    sets = load_sets(run.path / "model")
    if sets is None or max(sets.thresholds, default=0.0) < 0.95:
        return text
    text += " `predict --coverage 0.95` gives sets of classes that hold the true one in 95 of 100 images"
    if not (run.path / "model" / "unfamiliar.safetensors").exists():
        return f"{text}."
    return (
        f"{text}; `predict --reject 0.05` recognises images of another kind, but mostly not a new class of"
        " the same kind."
    )


def _effective(run: Run) -> str:
    """What groups make of the number of images."""
    if run.test.n_effective is None or run.test.n_effective > 0.95 * run.test.n:
        return ""
    return f", worth about {run.test.n_effective:.0f} independent ones"


def _print_search(run: Run, console: Console) -> None:
    from finetune.search.tables import print_search

    record: Any = run.choice["search"]
    print_search(record, console)
    console.print(f"Charts: {run.path}/search.html", markup=False, soft_wrap=True)


def _trained_on(run: Run) -> str:
    origin = {
        "folders": "the held-out folder",
        "column": "the held-out rows",
        "stratified": "a stratified fifth held out",
        "grouped": "whole groups held out",
    }
    return (
        f"trained on {run.split.n_train} of {run.data.n_images} images of {len(run.data.classes)} classes, "
        f"tested on {run.split.n_test} ({origin.get(run.split.kind, run.split.kind)})"
    )


def _choice(run: Run) -> str:
    for key, name in (("l2", "L2"), ("c", "C")):
        if key in run.choice:
            return f"chose {name} {run.choice[key]:g} of {len(run.choice['curve'])}"  # type: ignore[arg-type]
    if "k" in run.choice:
        return f"chose k = {run.choice['k']}, {run.choice['metric']}, {run.choice['weights']} votes"
    return ""


def _features(run: Run) -> str:
    """Why the last features or those of all stages were taken."""
    tried: Any = run.choice["features_tried"]
    last, stages = tried
    return (
        f"log loss {last['log_loss']:.3f} of the last features, {stages['log_loss']:.3f} with all stages: "
        f"{stages['difference']:.3f} lower, standard error {stages['standard_error']:.3f}"
        if stages["difference"] >= 0
        else f"log loss {last['log_loss']:.3f} of the last features, {stages['log_loss']:.3f} with all stages"
    )


def _training(run: Run) -> str:
    """How the network was trained, in a few words."""
    choice = run.choice
    words = [
        f"{choice['n_validation']} training images; chose learning rate {choice['lr']:g}",
        f"{choice['epochs']} of {choice['of_epochs']} epochs",
    ]
    if "num_views" in choice:
        words.append(f"{choice['num_views']} views of each image")
    if "img_size" in choice:
        words.append("at {} x {} pixels".format(*choice["img_size"]))  # type: ignore[misc]
    return ", ".join(words)


def _print_skipped(run: Run, console: Console) -> None:
    from zoo.cli.console import escape

    skipped = run.data.skipped
    if not skipped:
        return
    console.print("[yellow]Not readable:[/]")
    for file in skipped[:5]:
        console.print(f"  {escape(str(file.path))}: {escape(file.reason)}", soft_wrap=True)
    if len(skipped) > 5:
        console.print(f"  and {len(skipped) - 5} more, listed in run.json")

"""What a person reads of a search."""

from typing import TYPE_CHECKING, Any

from finetune.search.trials import Trial

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_search", "shown", "words"]

#: How many trials are listed.
MOST = 8


def print_search(record: dict[str, Any], trials: list[Trial], console: "Console") -> None:
    """Print the best trials, and what was won over the defaults.

    Parameters
    ----------
    record : dict
        ``run.choice["search"]``.
    trials : list of Trial
    console : rich.console.Console
    """
    from rich.table import Table

    console.print(
        f"\n[bold]search[/] of {', '.join(record['over'])}: {record['trials']} trials in "
        f"{record['seconds']:.1f} s, {record['stopped']} of them stopped early"
    )
    names = list(dict.fromkeys(name for t in trials for name in t.values))
    table = Table(
        "stage", *(n.replace("_", " ") for n in names), "loss", "accuracy", box=None, pad_edge=False
    )
    for trial in best_of(trials)[:MOST]:
        cells = [shown(trial.values.get(name, "default")) for name in names]
        table.add_row(trial.stage, *cells, f"{trial.score:.4f}", f"{trial.accuracy:.1%}")
    console.print(table)
    console.print(words(record))


def best_of(trials: list[Trial]) -> list[Trial]:
    """Return trials that were not stopped: final ones first, then by their loss."""
    order = {"final": 0, "fine": 1, "coarse": 2}
    whole = [t for t in trials if t.score is not None and not t.stopped]
    return sorted(whole, key=lambda t: (order[t.stage], t.loss))


def words(record: dict[str, Any]) -> str:
    """Say in a sentence what the search was good for."""
    before, gain = record["defaults"], record["gain"]
    if record["best_are_defaults"]:
        return (
            f"Nothing was better than the defaults: loss {before['loss']:.4f}, {before['accuracy']:.1%} "
            f"right. The best other values: {100 * gain['accuracy']:+.1f} points "
            f"(95% interval {100 * gain['low']:+.1f} to {100 * gain['high']:+.1f}) on {gain['n']} images."
        )
    return (
        f"Loss {record['loss']:.4f} instead of the defaults' {before['loss']:.4f}; {record['accuracy']:.1%} "
        f"right instead of {before['accuracy']:.1%}, {100 * gain['accuracy']:+.1f} points "
        f"(95% interval {100 * gain['low']:+.1f} to {100 * gain['high']:+.1f}) on {gain['n']} images of "
        f"{len(record['judged_on'])} {'fold' if len(record['judged_on']) == 1 else 'folds'}."
    )


def shown(value: Any) -> str:
    """Return a value as it is read most easily."""
    return f"{value:g}" if isinstance(value, float) else str(value)

"""``finetune [train]``: train a classifier."""

from finetune.cli.flags import DataFlags, Json, MethodFlags, Model, Out, Report, Strategy, given
from finetune.cli.screen import log, print_result
from finetune.experiment import DEFAULT_MODEL

__all__ = ["train"]


def train(
    *,
    data: DataFlags | None = None,
    model: Model = DEFAULT_MODEL,
    strategy: Strategy = "probe",
    out: Out = None,
    report: Report = True,
    options: MethodFlags | None = None,  # type: ignore[valid-type]
    json: Json = False,
) -> None:
    """Train a classifier on a folder of labelled images, and evaluate it on held-out images.

    With no command, trains. Everything is chosen by cross-validation on the training images; the
    held-out ones are evaluated once.
    """
    from finetune.train import fit

    data = data or DataFlags()
    print_result(
        fit(
            model=model,
            strategy=strategy,
            out=out,
            report=report,
            log=log,
            **data.arguments(),
            **given(options),
        ),
        json,
    )

"""``finetune search``: search for a training's settings."""

from typing import Annotated

from cyclopts import Parameter

from finetune.cli.flags import DataFlags, Json, MethodFlags, Model, Out, Report, Strategy, given
from finetune.cli.screen import log, print_result
from finetune.experiment import DEFAULT_MODEL

__all__ = ["search"]


def search(
    *,
    data: DataFlags | None = None,
    model: Model = DEFAULT_MODEL,
    strategy: Strategy = "probe",
    trials: Annotated[
        int | None, Parameter(help="Largest number of trials; by default 100 for a probe, 24 for others.")
    ] = None,
    minutes: Annotated[
        float | None,
        Parameter(help="Time for the trials; the training with the best options comes on top."),
    ] = None,
    over: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            negative_iterable="",
            help="Options to search. probe: lr, l2, hidden, activation, and with --head linear l2, loss."
            " Others: lr, weight_decay, batch_size, and if named label_smoothing, layer_decay, layers.",
        ),
    ] = None,
    out: Out = None,
    report: Report = True,
    options: MethodFlags | None = None,  # type: ignore[valid-type]
    json: Json = False,
) -> None:
    """Search for a training's settings, and train with the best.

    What is given stays as it is; the defaults are tried too, so that the result is no worse by the same
    score. Each trial is trained outside one fold of the training images; the best ones and the defaults are
    cross-validated, and these decide. Held-out images are evaluated once, at the end. If stopped, it
    continues with `finetune resume`.
    """
    from finetune.train import fit

    data = data or DataFlags()
    run = fit(
        model=model,
        strategy=strategy,
        out=out,
        report=report,
        log=log,
        search={"trials": trials, "minutes": minutes, "over": over},
        **data.arguments(),
        **given(options),
    )
    print_result(run, json)

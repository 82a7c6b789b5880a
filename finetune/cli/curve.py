"""``finetune curve``: would more labelled images help."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from finetune.cli.flags import DataFlags, Json, Model
from finetune.cli.screen import log
from finetune.experiment import DEFAULT_MODEL

if TYPE_CHECKING:
    from rich.console import Console

    from finetune.curve.curve import CurvePoint, LearningCurve
    from finetune.curve.power_law import Extrapolation

__all__ = ["curve"]


def curve(
    *,
    data: DataFlags | None = None,
    model: Model = DEFAULT_MODEL,
    features: Annotated[
        str | None, Parameter(help="What the probe reads, as for training: auto, last or stages.")
    ] = None,
    factor: Annotated[float, Parameter(help="How many times as many images to predict for.")] = 2.0,
    repeats: Annotated[int, Parameter(help="Cross-validations with other subsets.")] = 2,
    chart: Annotated[Path | None, Parameter(help="Write the chart there, as SVG.")] = None,
    json: Json = False,
) -> None:
    """Measure accuracy over the number of training images, and predict it for more of them.

    A probe is trained on parts of the training images, whole groups at a time, and judged on the rest of
    them; held-out images are not used. A power law through these accuracies predicts the accuracy with more
    images, with an interval.
    """
    from finetune.curve.curve import learning_curve
    from finetune.errors import OptionError
    from finetune.experiment import prepare
    from finetune.methods import make_method
    from finetune.report.charts import standalone
    from finetune.report.learning_curve import curve_chart
    from finetune.strategies.probe import Probe
    from zoo.cli.console import print_json, stdout
    from zoo.registry.registry import load_registry
    from zoo.writing import write_text

    data = data or DataFlags()
    if not factor > 1:
        raise OptionError(f"--factor is {factor:g}.", "Give a number above 1, such as 2.")
    if repeats < 1:
        raise OptionError(f"--repeats is {repeats}.", "Give 1 or more.")
    probe = make_method("probe", features=features)
    assert isinstance(probe, Probe)
    experiment = prepare(data.request(model), registry=load_registry(data.registry), log=log, methods=[probe])
    found = learning_curve(experiment.task(probe), probe, factor=factor, repeats=repeats)
    if chart is not None:
        try:
            write_text(chart, standalone(curve_chart(found)))
        except OSError as error:
            raise OptionError(
                f"{chart} cannot be written ({error.strerror}).", "Choose another place."
            ) from error
    if json:
        print_json({**found.to_dict(), "warnings": experiment.warnings, "data": data.data})
        return
    for warning in experiment.warnings:
        log(f"Note: {warning}")
    console = stdout()
    _print(found, console)
    if chart is not None:
        console.print(f"Chart: {chart}", markup=False, soft_wrap=True)


def _print(found: "LearningCurve", console: "Console") -> None:
    from rich.table import Table

    table = Table("training images", "accuracy", "95% interval", "", box=None, pad_edge=False)
    rows: list[tuple[CurvePoint | Extrapolation, str]] = [(p, "cross-validated") for p in found.points]
    rows.append((found.now, "predicted: all training images"))
    rows.append((found.more, f"predicted: {found.factor:g} times as many"))
    for point, how in rows:
        lo, hi = point.ci95
        table.add_row(f"{point.n:,}", f"{point.accuracy:.1%}", f"{lo:.1%} to {hi:.1%}", how)
    console.print(table)
    console.print(found.summary(), soft_wrap=True)

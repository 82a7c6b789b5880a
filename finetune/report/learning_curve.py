"""The chart of accuracy over the number of training images."""

from finetune.curve.curve import LearningCurve
from finetune.report.charts import Axis, Point, Series, chart

__all__ = ["curve_chart"]


def curve_chart(curve: LearningCurve) -> str:
    """Draw what was measured, and what more images would give.

    Parameters
    ----------
    curve : LearningCurve

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    measured = [
        Point(p.n, p.accuracy, *p.ci95, title=f"{p.n:,} images: {p.accuracy:.1%}") for p in curve.points
    ]
    predicted = [
        Point(p.n, p.accuracy, *p.ci95, title=f"{p.n:,} images: about {p.accuracy:.1%}", mark="hollow")
        for p in (curve.now, curve.more)
    ]
    joint = Point(curve.points[-1].n, curve.points[-1].accuracy)
    return chart(
        [
            Series(measured, "measured"),
            Series([joint, *predicted], dashed=True),
            Series(predicted, "predicted", joined=False),
        ],
        Axis("training images", log=True),
        Axis("accuracy", percent=True),
        "Accuracy over the number of training images; the table has the numbers",
    )

"""Whether probabilities are what they claim: of all images predicted at 80%, 80% should be right."""

from collections.abc import Sequence

from finetune.evaluation.intervals import wilson
from finetune.report.charts import Bin, calibration_chart
from finetune.runs import Prediction

__all__ = ["calibration_bins", "calibration_curve"]


def calibration_bins(predictions: Sequence[Prediction], n_bins: int = 10) -> list[Bin]:
    """Sort images into bins of equal width by the probability of their predicted class.

    Parameters
    ----------
    predictions : sequence of Prediction
    n_bins : int, optional
        From 0 to 1.

    Returns
    -------
    list of Bin
        Those that hold images, from low to high.
    """
    held: list[list[Prediction]] = [[] for _ in range(n_bins)]
    for prediction in predictions:
        held[min(int(prediction.probability * n_bins), n_bins - 1)].append(prediction)
    bins = []
    for i, found in enumerate(held):
        if found:
            n, correct = len(found), sum(prediction.correct for prediction in found)
            mean = sum(prediction.probability for prediction in found) / n
            bins.append(Bin(i / n_bins, (i + 1) / n_bins, n, mean, correct / n, *wilson(correct, n)))
    return bins


def calibration_curve(predictions: Sequence[Prediction]) -> str:
    """Draw accuracy over predicted probability; empty without predictions."""
    bins = calibration_bins(predictions)
    title = "Accuracy over predicted probability, with the number of images in each bin"
    return calibration_chart(bins, title) if bins else ""

"""Which features a classifier reads: the network's last ones, or those of all its stages beside them.

With few images, or images like those that the network was trained on, the stages can cost several points of
accuracy; with more images of another kind they gain as much (docs/features.md). Cross-validation tells which.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.calibration import fit_temperature, log_losses
from finetune.evaluation.comparisons import standard_error

__all__ = ["FeatureChoice", "choose_features"]


@dataclass(frozen=True)
class FeatureChoice:
    """A choice between last features and those of all stages.

    Attributes
    ----------
    features : str
        ``last`` or ``stages``.
    last_loss, stages_loss : float
        Mean log loss of the out-of-fold scores of either, each at its own best temperature.
    difference : float
        How much lower the loss of the stages is.
    standard_error : float
        Of the difference, from the paired differences of the images; of whole groups where there are some.
    """

    features: Literal["last", "stages"]
    last_loss: float
    stages_loss: float
    difference: float
    standard_error: float

    def record(self) -> dict[str, Any]:
        """Return what ``run.json`` says of it below ``choice``."""
        tried = [
            {"features": "last", "log_loss": self.last_loss},
            {
                "features": "stages",
                "log_loss": self.stages_loss,
                "difference": self.difference,
                "standard_error": self.standard_error,
            },
        ]
        return {"features": self.features, "features_tried": tried}


def choose_features(
    last: NDArray[np.floating[Any]],
    stages: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    groups: NDArray[Any] | None = None,
) -> FeatureChoice:
    """Take the stages where their log loss is lower by more than one standard error, else the last features.

    Parameters
    ----------
    last, stages : (n, c) array
        Out-of-fold scores of classifiers on either, of the same images; not yet calibrated.
    labels : (n,) int array
        Their classes.
    groups : (n,) array, optional
        Images of one group are not independent of each other.
    """
    of_last, of_stages = (log_losses(s, labels, fit_temperature(s, labels)) for s in (last, stages))
    gains = of_last - of_stages
    gain, error = float(gains.mean()), standard_error(gains, groups)
    taken: Literal["last", "stages"] = "stages" if gain > error else "last"
    return FeatureChoice(taken, float(of_last.mean()), float(of_stages.mean()), gain, error)

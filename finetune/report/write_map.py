"""From an experiment and what was fitted to the map of the features in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finetune.report.feature_map import feature_map, picture_sheet

if TYPE_CHECKING:
    from finetune.experiment import Experiment
    from finetune.method import Fitted
    from zoo.backbone import Backbone

__all__ = ["write_map"]


def write_map(folder: Path, experiment: Experiment, fitted: Fitted, backbone: Backbone) -> None:
    """Write the map of what a classifier works on.

    Parameters
    ----------
    folder : Path
        The run's.
    experiment : Experiment
    fitted : Fitted
        The classifier; where it has no network, the map is that of the images' 32 x 32 pixels.
    backbone : Backbone
        The network, whose pretrained features are mapped.
    """
    from finetune.data.statistics import column  # imports Pillow

    dataset, matrices, name = experiment.dataset, experiment.matrices, backbone.name
    if getattr(fitted, "backbone", None) is None:
        X, words = matrices["pixels"], "32 x 32 pixels"
    elif fitted.choice.get("features") == "stages":
        X, words = experiment.stages[name], f"features of all stages of {name}, as pretrained"
    else:
        X, words = matrices[name], f"features of {name}, as pretrained"
    test, seed = experiment.split.test, experiment.request.seed
    found, rows = feature_map(X, dataset.names, dataset.labels, test, words, seed=seed)
    sizes = (column(matrices["statistics"][rows], side) for side in ("width", "height"))
    found.save(folder, picture_sheet(matrices["pixels"][rows], *sizes))

"""Another layout for the map of a finished run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from finetune.errors import RunError
from finetune.report.feature_map import FILES, FeatureMap
from finetune.report.thumbnails import find_image, image_root
from finetune.runs import Run

__all__ = ["rearrange"]


def rearrange(run: Run, layout: str) -> None:
    """Arrange the map of the features of a run anew, by the features that its classifier reads.

    Parameters
    ----------
    run : Run
        Its folder's ``feature_map.json`` is replaced.
    layout : str
        One of :data:`finetune.report.feature_map.LAYOUTS`.

    Raises
    ------
    RunError
        If the run has no map, or its images are gone.
    OptionError
        If the layout is unknown or not installed.
    """
    from finetune.runs.predictor import Predictor
    from zoo.features.fill import compute
    from zoo.writing import write_text

    found = FeatureMap.load(run.path)
    if found is None:
        raise RunError(f"{run.path} has no {FILES[0]}.", "Train again without --no-report.")
    root = image_root(Path(run.data.path))
    places = [find_image(point.path, root) for point in found.points]
    gone = sum(place is None for place in places)
    if gone:
        raise RunError(
            f"{gone:,} of the {len(places):,} images on the map are gone from {run.data.path}.",
            "Put them back, or leave out --map.",
        )
    predictor = Predictor(run)
    extraction = compute([place for place in places if place is not None], [predictor.space])
    if extraction.skipped:
        raise next(iter(extraction.skipped.values()))
    X = np.asarray(extraction.matrices[0], np.float32)
    named = f"features of {run.model}" + (", as trained" if run.strategy in ("full", "last-layers") else "")
    found = replace(found, features=named) if "pixels" not in found.features else found
    write_text(run.path / FILES[0], found.arranged(X, layout, run.seed).to_json())

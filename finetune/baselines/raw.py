"""References without a CNN: classifiers on the colours of 32 x 32 pixels."""

from __future__ import annotations

from typing import ClassVar

from finetune.baselines.knn import KNN
from finetune.method import Inputs, Kind
from finetune.options import Options
from finetune.strategies.probe import Probe

__all__ = ["RawKNN", "RawLinear"]


class RawLinear(Probe):
    """The probe's linear classifier on pixels."""

    name = "raw"
    kind: ClassVar[Kind] = "reference"
    summary = "a linear classifier on 32 x 32 pixels, without a CNN"
    inputs: ClassVar[Inputs] = "pixels"

    Options = Options  # type: ignore[assignment]  # the probe's settings stay at their defaults

    def __init__(self, options: object = None) -> None:
        super().__init__(Probe.Options(features="last"))


class RawKNN(KNN):
    """Nearest neighbours on pixels."""

    name = "raw-knn"
    kind: ClassVar[Kind] = "reference"
    summary = "nearest neighbours on 32 x 32 pixels, without a CNN"
    inputs: ClassVar[Inputs] = "pixels"

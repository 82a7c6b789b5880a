"""What an export says of itself: classes, preprocessing, thresholds, and what was measured."""

from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

from finetune.export.golden import TOLERANCE
from zoo.features.spaces import BackboneSpace

if TYPE_CHECKING:
    from finetune.runs.predictor import Predictor
    from finetune.trust import Knowledge

__all__ = ["about"]

#: What the outputs of every export are.
OUTPUTS = {
    "probabilities": "calibrated probabilities of the classes (n, c)",
    "scores": "their logarithms but for a constant (n, c); the temperature is in them",
    "features": "the network's last features (n, d)",
    "unfamiliar": "p-value (n,): small where an image is unlike anything in training",
}


def about(predictor: "Predictor", knowledge: "Knowledge") -> dict[str, Any]:
    """Return plain values for JSON.

    Returns
    -------
    dict
        ``version`` of this description; ``precision``; ``classes``; ``input`` and ``preprocess``, by which an
        image becomes the input; ``outputs``; ``temperature``, which is in the scores already;
        ``prediction_sets`` for ``--coverage``, ``unfamiliar`` for ``--reject`` (None where the run does not
        know); ``run`` and ``accuracy``: where it comes from, and how good it is. Nothing in it names a place
        on the disk.
    """
    run = predictor.run
    test, known = run.test, knowledge.unfamiliar
    preprocess = _preprocess(predictor)
    height, width = preprocess["input_size"]
    return {
        "version": 1,
        "program": f"finetune-zoo {metadata.version('finetune-zoo')}",
        "precision": "fp32",
        "classes": list(predictor.classes),
        "input": {
            "name": "pixels",
            "dtype": "uint8",
            "shape": ["n", height, width, 3],
            "colours": "RGB, 0 to 255; mean and std are applied inside",
        },
        "preprocess": preprocess,
        "outputs": {name: text for name, text in OUTPUTS.items() if name != "unfamiliar" or known},
        "temperature": run.choice.get("temperature"),
        "prediction_sets": None if knowledge.sets is None else knowledge.sets.to_dict(),
        "unfamiliar": None
        if known is None
        else {
            **{"lowest": known.lowest, "reject": "unfamiliar <= level"},
            **{"k": known.k, "p_values": known.p_values.tolist()},
        },
        "tolerance": TOLERANCE,
        "run": {
            "strategy": run.strategy,
            "model": run.model,
            "weights_sha256": run.weights_sha256,
            "n_train": run.split.n_train,
            "created": run.created,
        },
        "accuracy": {
            **{"n": test.n, "accuracy": test.accuracy, "ci95": list(test.ci95)},
            "without_copies": None if test.without_copies is None else asdict(test.without_copies),
        },
    }


def _preprocess(predictor: "Predictor") -> dict[str, Any]:
    """How an upright RGB image becomes the input, in timm's words."""
    space = predictor.space
    # From version 13 on, Pillow resizes tall images in another order, which changes how it rounds.
    pillow = {"pillow": int(metadata.version("pillow").split(".")[0])}
    if not isinstance(space, BackboneSpace):
        return {
            **{"inputs": "pixels", "input_size": [32, 32], "interpolation": "box", "crop_pct": 1.0},
            **{"crop_mode": "squash", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
            **pillow,
        }
    known = space.backbone.preprocess
    return {
        "inputs": "network",
        "input_size": list(known.input_size),
        "interpolation": known.interpolation,
        "crop_pct": known.crop_pct,
        "crop_mode": known.crop_mode,
        "mean": list(known.mean),
        "std": list(known.std),
        **pillow,
    }

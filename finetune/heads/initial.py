"""Initial weights of new layers: random, scaled so that signals neither vanish nor explode.

A layer that adds up n inputs of variance 1 with weights of variance v gives a variance of n v. Layer upon
layer, any v but 1 / n makes signals vanish or explode, and gradients with them.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEAD_SCALE", "OUTPUT_SCALE", "he", "head", "output", "xavier"]

#: Deviation of the weights of the layer that gives the scores: so small that all classes begin as good as
#: equal, and the softmax loss at log c.
OUTPUT_SCALE = 1e-2

#: The same where it stands on a network's own features, which are not standardised: some thousand numbers,
#: together of length 20 and more.
HEAD_SCALE = 1e-3


def he(rng: np.random.Generator, outputs: int, inputs: int) -> NDArray[np.float32]:
    """Draw the weights of a layer with a rectifier behind it, which drops half of the variance.

    Parameters
    ----------
    rng : Generator
    outputs, inputs : int
        Of the layer.

    Returns
    -------
    (outputs, inputs) float32 array
        Normal, of variance 2 / inputs (He, Zhang, Ren and Sun 2015, "Delving deep into rectifiers", ICCV).
    """
    return _normal(rng, outputs, inputs, np.sqrt(2 / inputs))


def xavier(rng: np.random.Generator, outputs: int, inputs: int) -> NDArray[np.float32]:
    """Draw the weights of a layer with a tanh behind it, which is the identity for small signals.

    Parameters and what is returned are those of :func:`he`; the variance is 1 / inputs (Glorot and Bengio
    2010, "Understanding the difficulty of training deep feedforward neural networks", AISTATS, in the form
    that looks at the signal forward only, as in CS231n's notes).
    """
    return _normal(rng, outputs, inputs, np.sqrt(1 / inputs))


def output(rng: np.random.Generator, outputs: int, inputs: int) -> NDArray[np.float32]:
    """Draw the weights of the layer that gives the scores; parameters and return are those of :func:`he`."""
    return _normal(rng, outputs, inputs, OUTPUT_SCALE)


def head(rng: np.random.Generator, outputs: int, inputs: int) -> NDArray[np.float32]:
    """Draw the weights of a network's new classifier; parameters and return are those of :func:`he`."""
    return _normal(rng, outputs, inputs, HEAD_SCALE)


def _normal(rng: np.random.Generator, outputs: int, inputs: int, deviation: float) -> NDArray[np.float32]:
    return (deviation * rng.standard_normal((outputs, inputs))).astype(np.float32)

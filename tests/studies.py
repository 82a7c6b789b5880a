"""Simulated studies whose truth is known."""

import numpy as np


def correlated_groups(rng, n_groups, accuracy, correlation):
    """Correct predictions of groups of 1 to 12 images, with their groups.

    The accuracy of a group follows a beta distribution, so that two images of one group agree with the
    given correlation: with 0 they are independent, with 1 all images of a group are right or all wrong.
    """
    sizes = rng.integers(1, 13, n_groups)
    if correlation == 0:
        own = np.full(n_groups, accuracy)
    elif correlation == 1:
        own = (rng.random(n_groups) < accuracy).astype(float)
    else:
        concentration = (1 - correlation) / correlation
        own = rng.beta(accuracy * concentration, (1 - accuracy) * concentration, n_groups)
    groups = np.repeat(np.arange(n_groups), sizes)
    return rng.random(len(groups)) < own[groups], groups

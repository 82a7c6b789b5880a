"""Which trials are given up early."""

import math
from collections.abc import Sequence

import numpy as np

from finetune.search.trials import Trial

__all__ = ["why_stop"]

#: A loss so many times the first one will not come back in a short trial.
RISEN = 1.5

#: After which shares of its epochs a trial is compared with others, and with how many at least.
RUNGS, COMPANY = (0.25, 0.5), 5


def why_stop(curve: Sequence[float], epochs: int, earlier: Sequence[Trial]) -> str:
    """Say why a trial is not worth going on with.

    Parameters
    ----------
    curve : sequence of float
        Its held-out loss after each epoch so far.
    epochs : int
        How many it would have.
    earlier : sequence of Trial
        Those of the same stage before it.

    Returns
    -------
    str
        Empty if it is.
    """
    done, loss = len(curve), curve[-1]
    if not loss <= RISEN * curve[0]:
        return f"the loss rose from {curve[0]:.3g} to {loss:.3g}"
    if done < epochs and done in {math.ceil(share * epochs) for share in RUNGS}:
        others = [t.curve[done - 1] for t in earlier if len(t.curve) >= done]
        if len(others) >= COMPANY and loss > np.median(others):
            return f"worse than half of the others after {done} of {epochs} epochs"
    return ""

"""Each head, and what is known of the training images, computes in torch what it computes in NumPy."""

import numpy as np
import pytest
import torch
from samples import clouds

from finetune.evaluation.unfamiliar import Unfamiliar
from finetune.export.heads import MODULES, head_module
from finetune.export.network import UnfamiliarModule
from finetune.heads.constant import Constant
from finetune.heads.distances import DISTANCES
from finetune.heads.kernel import KernelSearch
from finetune.heads.knn import Neighbours
from finetune.heads.linear import Linear
from finetune.heads.mlp import ACTIVATIONS, MLP
from finetune.heads.neighbours import WEIGHTS
from finetune.runs.ensemble import Ensemble, Member
from finetune.runs.saved import HEADS

X, y = clouds(n=150, d=12, c=3)
NEW = clouds(n=40, d=12, c=3, seed=1)[0]

rng = np.random.default_rng(0)


def linear(width):
    return Linear(rng.normal(size=(3, width)).astype(np.float32), rng.normal(size=3).astype(np.float32))


HEAD_EXAMPLES = [
    linear(12),
    Ensemble((Member(linear(8), "last", 0.7), Member(linear(12), "stages", 0.3)), 8, 1.3),
    Constant(np.log([0.5, 0.3, 0.2])),
    KernelSearch(X, y, 3).head().with_temperature(0.1),
    *(MLP.new(activation, 12, 7, 3, seed=0) for activation in ACTIVATIONS),
    *(Neighbours(X, y, 3, 5, metric, weights, 0.7) for metric in DISTANCES for weights in WEIGHTS),
]


def test_every_kind_of_head_has_a_module():
    assert set(MODULES) == set(HEADS)
    assert {head.kind for head in HEAD_EXAMPLES} == set(MODULES)


@pytest.mark.parametrize(
    "head", HEAD_EXAMPLES, ids=lambda head: f"{head.kind}-{str(list(head.settings().values()))[:40]}"
)
def test_a_head_gives_the_same_scores_in_torch(head):
    # Among the new rows are some that kNN has stored: at distance 0, only they vote.
    rows = np.concatenate([NEW, X[:3]])
    expected = head.decision_function(rows)
    found = head_module(head)(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("groups", [None, np.arange(150) // 3])
def test_unfamiliar_images_get_the_same_p_value_in_torch(groups):
    known = Unfamiliar.fit(X, groups)
    rows = np.concatenate([NEW, 5 * NEW[:, ::-1]])
    found = UnfamiliarModule(known)(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(found, known.predict(rows), atol=2 / 150)
    assert np.mean(found == known.predict(rows).astype(np.float32)) > 0.95

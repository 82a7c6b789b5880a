"""The results of a comparison."""

from typing import Any

from pydantic import Field, JsonValue

from finetune.evaluation.metrics import Evaluation
from finetune.runs.plain import PlainModel

__all__ = ["SCHEMA", "Comparison", "FoldScores", "FoldTest", "HeldOutTest", "MethodResult", "Pair"]

SCHEMA = 1
"""Version of ``compare.json``; it rises whenever a key is added, removed or changes its meaning."""


class FoldScores(PlainModel):
    """Accuracy on each outer fold of the training split, with every choice made outside the fold.

    Attributes
    ----------
    n_folds, repeats : int
        Folds in a repetition, and repetitions.
    accuracies : list of float
        One a fold, repetition after repetition.
    mean, std : float
        Over all of them.
    n_train, n_test : float
        Images inside and outside a fold's training part, on average.
    seconds : float
        For all folds together.
    """

    n_folds: int
    repeats: int
    accuracies: list[float]
    mean: float
    std: float
    n_train: float
    n_test: float
    seconds: float


class MethodResult(PlainModel):
    """One row of the table.

    Attributes
    ----------
    name : str
        The method.
    model : str or None
        The network whose features it used; None for references.
    kind : str
        ``strategy``, ``baseline``, or ``reference`` where it works without a CNN.
    test : Evaluation
        On the held-out images.
    correct : str
        ``1`` for each held-out image that it predicted correctly, ``0`` for the others, in their order.
    folds : FoldScores or None
        None where no folds were requested.
    seconds : float
        To choose and fit on the training split, without computing features.
    n_parameters : int
        How many numbers were learned.
    model_bytes : int
        Of the saved model.
    choice : dict
        What was chosen inside the training split.
    warnings : list of str
        What the user should know before trusting the row.
    """

    name: str
    model: str | None
    kind: str
    test: Evaluation
    correct: str
    folds: FoldScores | None
    seconds: float
    n_parameters: int
    model_bytes: int
    choice: dict[str, JsonValue]
    warnings: list[str]


class HeldOutTest(PlainModel):
    """McNemar's test on the held-out images, by whole groups where there are any.

    Attributes
    ----------
    only_a, only_b : int
        Images that only one of the two predicted correctly.
    p_value, p_holm : float
        By itself, and adjusted for the number of pairs.
    """

    only_a: int
    only_b: int
    p_value: float
    p_holm: float


class FoldTest(PlainModel):
    """Nadeau and Bengio's corrected t-test on the folds that both methods have.

    Attributes
    ----------
    difference : float
        Mean accuracy of a minus that of b.
    ci95 : tuple of float
        Its 95% interval.
    folds : int
        How many there are.
    p_value, p_holm : float
        By itself, and adjusted for the number of pairs.
    """

    difference: float
    ci95: tuple[float, float]
    folds: int
    p_value: float
    p_holm: float


class Pair(PlainModel):
    """Two methods compared.

    Attributes
    ----------
    a, b : str
        Their labels; a stands higher in the table.
    held_out : HeldOutTest
    folds : FoldTest or None
        None where either has no folds.
    different : bool
        Whether the held-out test's adjusted p is at most 0.05.
    """

    a: str
    b: str
    held_out: HeldOutTest
    folds: FoldTest | None
    different: bool


class Comparison(PlainModel):
    """Everything that ``finetune compare --json`` prints.

    Attributes
    ----------
    schema_version : int
        The key ``schema``: version of this format.
    data, fingerprint : str
        The data as the user gave it, and the hash of its contents.
    n_train, n_test, n_classes : int
        Images and classes.
    split : str
        Where the held-out images come from; see :class:`finetune.data.split.Split`.
    methods : list of MethodResult
        The best first.
    best : str
        Label of the best.
    like_best : list of str
        Labels of those that do not differ significantly from it.
    pairs : list of Pair
        Every two methods.
    verdict : str
        What it comes to, in words.
    advice : str
        What to do next, and why.
    failed : dict of str to str
        Networks that could not be had, and why.
    warnings : list of str
        What the user should know before trusting the table.
    seconds : dict of str to float
        ``features`` and ``total``, of this call.
    seed : int
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    data: str
    fingerprint: str
    n_train: int
    n_test: int
    n_classes: int
    split: str
    methods: list[MethodResult]
    best: str
    like_best: list[str]
    pairs: list[Pair]
    verdict: str
    advice: str
    failed: dict[str, str]
    warnings: list[str]
    seconds: dict[str, float]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return self.model_dump(mode="json", by_alias=True)

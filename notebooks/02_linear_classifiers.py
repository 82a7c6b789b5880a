# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2. Linear classifiers
#
# **Question.** Can the many stored images of a nearest neighbour classifier be replaced by one template a class?
# What should we minimise to find the templates?
#
# **Idea.** A linear classifier gives each class a score, $s = W x + b$. Row $j$ of $W$ is class $j$'s *template*: the
# score is high where the image has large values in the places where the template has. The largest score
# wins. A *loss* says how wrong the scores are for an image of class $y$:
#
# $$\text{hinge (SVM):}\quad L = \sum_{j \ne y} \max(0,\; s_j - s_y + 1) \qquad\qquad
# \text{softmax (cross-entropy):}\quad L = -\log \frac{e^{s_y}}{\sum_j e^{s_j}}$$
#
# The hinge loss wants the right score to be larger than every other by a margin of 1, and then has no further
# wish. The softmax turns scores into probabilities and always wants the right one to be larger still. To either
# we add $\frac{\lambda}{2} \lVert W \rVert^2$, the L2 penalty, which prefers small weights.

# %%
import numpy as np
import plots
from emoji import emoji
from IPython.display import Markdown
from sklearn.datasets import load_digits

from finetune.data.split import folds, hold_out
from finetune.estimators.probe_classifier import ProbeClassifier
from finetune.evaluation.intervals import accuracy_interval
from finetune.heads.linear import Problems, hinge, softmax_loss, solve

digits = load_digits()
X, y = (digits.data / 16).astype(np.float32), digits.target
split = hold_out(y, seed=0)
train, test = split.train, split.test


def fit(l2, loss=softmax_loss, rows=train):
    """Return the linear classifier with the least loss on some rows."""
    problem = Problems(X[rows], y[rows], np.ones((1, len(rows))), 10)
    return problem.classifier(solve(problem, l2, loss))


def accuracy(head, rows):
    """Return the share of rows that a classifier predicts right."""
    return float((head.decision_function(X[rows]).argmax(axis=1) == y[rows]).mean())


# %% [markdown]
# ## Both losses by hand
#
# One image of class 0, with the scores 3.2, 5.1 and -1.7 (the example of the CS231n notes).
#
# Hinge: $\max(0,\, 5.1 - 3.2 + 1) + \max(0,\, -1.7 - 3.2 + 1) = 2.9 + 0 = 2.9$.
#
# Softmax: $e^{3.2} = 24.5$, $e^{5.1} = 164.0$, $e^{-1.7} = 0.18$, so that
# $p_0 = 24.5 / 188.7 = 0.13$ and $-\log 0.13 = 2.04$.
#
# The project's functions take the scores of many images and several problems at once, as an array (problems,
# classes, images). Ours has one of each but three classes. They return the derivative as well.

# %%
scores, right = np.array([3.2, 5.1, -1.7]), 0
by_hand = {
    "hinge": sum(max(0, scores[j] - scores[right] + 1) for j in (1, 2)),
    "softmax": -np.log(np.exp(scores[right]) / np.exp(scores).sum()),
}
computed = {}
for name, loss in (("hinge", hinge), ("softmax", softmax_loss)):
    value, slope = loss(scores[None, :, None].copy(), np.array([right]))
    computed[name] = float(value[0, 0])
    assert np.isclose(computed[name], by_hand[name])
    assert abs(slope.sum()) < 1e-9, "adding the same number to all scores changes neither loss"
    print(
        f"{name:8} loss {computed[name]:.3f}   derivative with respect to the scores {slope.ravel().round(3)}"
    )

# %% [markdown]
# How they differ is seen when the right score grows while the others stay: the hinge is satisfied at a margin
# of 1 and gives no gradient beyond it. The softmax never quite is.

# %%
s = np.linspace(0, 10, 101)
moved = np.stack([s, np.full_like(s, 5.1), np.full_like(s, -1.7)])[None]
zeros = np.zeros(len(s), np.int64)
curve = {"hinge": hinge(moved.copy(), zeros)[0][0], "softmax": softmax_loss(moved.copy(), zeros)[0][0]}
plots.curves(plots.axes(width=5), s, curve, "score of the right class", "loss", markers=False)

# %%
satisfied = s[curve["hinge"] == 0].min()
assert np.isclose(satisfied, 5.1 + 1, atol=0.16), "the project's hinge has a corner rounded by 0.05"
assert (curve["softmax"] > 0).all()
Markdown(
    f"""**Found.** The hinge loss is 0 from a right score of {satisfied:.1f} on, the largest other score (5.1) plus the
margin. The softmax loss at a score of 10 is still {curve["softmax"][-1]:.4f}."""
)

# %% [markdown]
# ## A W with zero hinge loss is not unique
#
# If all margins of $W$ are larger than 1, those of $2W$ are larger than 2: also no loss. So the data alone do not
# choose between $W$, $2W$ and $100W$. Below, a classifier that separates 100 digits, multiplied by numbers.

# %%
few = np.sort(np.random.default_rng(0).permutation(train)[:100])
separating = fit(1e-6, hinge, few)
scales = np.array([0.25, 0.5, 1, 2, 4, 8])


def mean_hinge(scale):
    """Return the hinge loss of the classifier multiplied by a number."""
    scores = scale * separating.decision_function(X[few])
    return float(hinge(np.ascontiguousarray(scores.T[None]), y[few])[0].mean())


data_loss = np.array([mean_hinge(scale) for scale in scales])
norm = float((separating.W**2).sum())
penalised = {f"with L2 = {l2}": data_loss + l2 / 2 * scales**2 * norm for l2 in (0.001, 0.01)}
plots.curves(
    plots.axes(width=5),
    scales,
    {"hinge loss alone": data_loss, **penalised},
    "factor by which W is multiplied",
    "mean loss",
    log_x=True,
)

# %%
free = scales[data_loss < 0.01]
assert len(free) >= 3, "several multiples of W have no loss"
assert all(np.argmin(values) < len(scales) - 1 for values in penalised.values())
Markdown(
    f"""**Found.** Multiplied by {", ".join(f"{x:g}" for x in free)}, the classifier has a hinge loss below 0.01: the
data do not tell these apart. With the penalty each curve has one lowest point, and the larger the penalty, the
smaller the W that it prefers."""
)

# %% [markdown]
# ## What L2 prefers
#
# Take $x = (1, 1, 1, 1)$. The weights $(1, 0, 0, 0)$ and $(¼, ¼, ¼, ¼)$ give the same score, 1. Their squares sum
# to 1 and to ¼. So L2 prefers weights that are spread out: use every pixel a little, rely on none.
# Below are the templates of the ten digits for three values of L2. Red: a bright pixel there speaks for the digit.
# Blue: it speaks against it.

# %%


def effect(head):
    """Return the weights times their pixels' deviations: what a pixel usually adds to a score."""
    return head.W * X[train].std(axis=0)


values = [1e-4, 1e-1, 10]
heads = {l2: fit(l2) for l2 in values}
for l2 in values:
    templates = [w.reshape(8, 8) for w in effect(heads[l2])]
    plots.signed_pictures(
        templates, [f"{c} (L2 = {l2:g})" if c == 0 else str(c) for c in range(10)], 5, "weight x deviation"
    )

# %% [markdown]
# The three blocks are L2 = 0.0001, 0.1 and 10. How spread out the weights are, and how well they work on digits
# that were held out:

# %%
path = [10.0**e for e in np.arange(-5, 2.1, 0.5)]
fitted = [fit(l2) for l2 in path]
left, right_ax = plots.axes(1, 2)
plots.curves(
    left,
    path,
    {"training": [accuracy(h, train) for h in fitted], "held out": [accuracy(h, test) for h in fitted]},
    "L2",
    "accuracy",
    log_x=True,
)
squares = [np.sort(effect(h).ravel() ** 2) for h in fitted]
top = [float(s[-64:].sum() / s.sum()) for s in squares]
plots.curves(right_ax, path, {"": top}, "L2", "share of the largest tenth", log_x=True)

# %%
held_out = np.array([accuracy(h, test) for h in fitted])
training = np.array([accuracy(h, train) for h in fitted])
assert top[0] > top[-1], "a large L2 spreads the weights"
assert training[0] >= training[-1], "a large L2 fits the training images less well"
gap = training - held_out
assert gap[0] > gap[-1], "L2 narrows the gap"
Markdown(
    f"""**Found.** With L2 = {path[0]:g} the largest tenth of the weights (times their pixels' deviations) hold
{top[0]:.0%} of the sum of squares, with L2 = {path[-1]:g} {top[-1]:.0%}. Accuracy on the training digits goes from {training[0]:.1%} to {training[-1]:.1%}, on
the held-out ones from {held_out[0]:.1%} over {held_out.max():.1%} (L2 = {path[int(held_out.argmax())]:.2g}) to
{held_out[-1]:.1%}; the gap between the two from {100 * gap[0]:.1f} to {100 * gap[-1]:.1f} points."""
)

# %% [markdown]
# ## Softmax against SVM on the same features
#
# The question that is asked most often: which of the two losses? We let both have their best L2, chosen by
# cross-validation inside the training images, on CNN features of emoji.

# %%
images = emoji(per_class=60)
results = {}
for loss in ("softmax", "hinge"):
    right_or_not = np.zeros(len(images.y), bool)
    for inside, outside in folds(images.y, 3).pairs:
        probe = ProbeClassifier(loss=loss, cv=3).fit(images.features[inside], images.y[inside])
        right_or_not[outside] = probe.predict(images.features[outside]) == images.y[outside]
    results[loss] = right_or_not

# %%
intervals = {loss: accuracy_interval(correct) for loss, correct in results.items()}
lower = [i.accuracy - i.ci95[0] for i in intervals.values()]
upper = [i.ci95[1] - i.accuracy for i in intervals.values()]
plots.bars(
    plots.axes(width=5.5, height=1.8),
    {loss: i.accuracy for loss, i in intervals.items()},
    "accuracy, with its 95% interval",
    errors=[lower, upper],
)

# %%
only_softmax = int((results["softmax"] & ~results["hinge"]).sum())
only_hinge = int((results["hinge"] & ~results["softmax"]).sum())
difference = intervals["softmax"].accuracy - intervals["hinge"].accuracy
assert abs(difference) < 0.05
overlap = intervals["softmax"].ci95[0] < intervals["hinge"].ci95[1]
assert overlap
Markdown(
    f"""**Found.** Softmax {intervals["softmax"].accuracy:.1%}, hinge {intervals["hinge"].accuracy:.1%}. Of
{len(images.y)} pictures, {only_softmax} are right with the softmax only and {only_hinge} with the hinge only. The
intervals overlap: the choice of the loss matters little. The softmax also gives probabilities, and is this
project's default."""
)

# %% [markdown]
# ## Exercises
#
# 1. What is each loss at the very start, when all ten scores are 0?
# 2. What happens to the hinge loss, the softmax loss and the predicted class if 100 is added to every score?
# 3. Replace the margin 1 in the hinge loss by 10. Which $W$ is best now, if there is no penalty? And with one?
#
# <details>
# <summary>Solution 1</summary>
#
# Hinge: nine terms $\max(0,\, 0 - 0 + 1)$, so 9. Softmax: $-\log(1/10) = 2.303$. If a training starts with
# another loss, something is wrong; chapter 7 uses this as a check.
# </details>
#
# <details>
# <summary>Solution 2</summary>
#
# Nothing: only differences of scores occur in the hinge, and in the softmax $e^{100}$ cancels. (That is why
# the derivatives above sum to 0, and why code subtracts the largest score first: $e^{1000}$ is not a number that a
# computer can hold.)
# </details>
#
# <details>
# <summary>Solution 3</summary>
#
# Without a penalty, $10 W$ does what $W$ did: every score difference is ten times as large, and so is the loss, and
# the same images are predicted right. With a penalty: at $10 W$ the hinge loss with margin 10 is ten times what
# margin 1 gives at $W$, and the penalty is a hundred times as large. So margin 10 with $\lambda$ finds the same classifier,
# ten times as large, as margin 1 with $10 \lambda$. Margin and $\lambda$ are one choice, not two, and 1 is as good as any.
# </details>

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
# # 9. Transfer learning: small training sets will do
#
# **Question.** How many labelled images does a good classifier need? And how much of the answer is the network that was
# trained on ImageNet?
#
# **Idea.** A network that has learned to tell a thousand classes of photographs apart computes numbers on the way that are
# useful for other classes, too: $f(x)$, 1,280 of them. Keep $f$, and learn only the last layer,
#
# $$s = W f(x) + b,$$
#
# which has so few parameters that a few images a class suffice. We compare what needs no network (pixels) with three
# classifiers on its features, for 5, 10, 20 and 40 training images a class.

# %%
from itertools import pairwise

import numpy as np
import plots
from emoji import emoji
from IPython.display import Markdown
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from finetune.data.plan import inner_folds, plain
from finetune.estimators.probe_classifier import ProbeClassifier
from finetune.evaluation.comparisons import mcnemar
from finetune.evaluation.intervals import accuracy_interval
from finetune.heads.knn import Neighbours, NeighbourSearch

images = emoji(per_class=60)
y, n_classes = images.y, len(images.classes)
turn = np.concatenate([np.random.default_rng(c).permutation((y == c).sum()) for c in range(n_classes)])
test = np.flatnonzero(turn >= 40)  # 20 a class, held out from everything below
sizes = [5, 10, 20, 40]

# %% [markdown]
# Each classifier chooses what it has to choose (k and the distance, the regularisation) by cross-validation *inside* its
# training images, and is evaluated on the same held-out ones.

# %%


def probe(X, rows):
    """Predict with a softmax classifier."""
    return ProbeClassifier(cv=3).fit(X[rows], y[rows]).predict(X[test])


def svm(X, rows):
    """Predict with a linear SVM."""
    pipeline = make_pipeline(StandardScaler(), LinearSVC(random_state=0, tol=1e-3))
    chosen = GridSearchCV(pipeline, {"linearsvc__C": [1e-4, 1e-3, 1e-2]}, cv=3)
    return chosen.fit(X[rows], y[rows]).predict(X[test])


def knn(X, rows):
    """Predict with nearest neighbours."""
    plan = plain(inner_folds(y[rows], None, 3))
    best = NeighbourSearch(X[rows], y[rows], n_classes, plan, 10, metric="cosine").best()
    return Neighbours(X[rows], y[rows], n_classes, *best).decision_function(X[test]).argmax(axis=1)


methods = {
    "pixels, softmax": (probe, images.pixels),
    "features, nearest neighbours": (knn, images.features),
    "features, SVM": (svm, images.features),
    "features, softmax (probe)": (probe, images.features),
}
right = {name: [] for name in methods}
for size in sizes:
    rows = np.flatnonzero(turn < size)
    for name, (method, X) in methods.items():
        right[name].append(method(X, rows) == y[test])

intervals = {name: [accuracy_interval(correct) for correct in kept] for name, kept in right.items()}
accuracy = {name: [i.accuracy for i in kept] for name, kept in intervals.items()}
errors = {
    name: np.array([[i.accuracy - i.ci95[0], i.ci95[1] - i.accuracy] for i in kept]).T
    for name, kept in intervals.items()
}

ax = plots.axes(width=7.5, height=4)
plots.curves(ax, sizes, accuracy, "training images a class", "held-out accuracy", errors=errors, log_x=True)
ax.axhline(1 / n_classes, color="0.4", ls="--", lw=1)
ax.annotate("guessing", (5, 1 / n_classes), (0, 4), textcoords="offset points")
ax.set_xticks(sizes, [str(s) for s in sizes])
ax.minorticks_off()
ax.set(ylim=(0, 0.8))
_ = ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))

# %%
pixels, features = accuracy["pixels, softmax"], accuracy["features, softmax (probe)"]
test_of = mcnemar(right["features, softmax (probe)"][-1], right["pixels, softmax"][-1])
half_width = errors["features, softmax (probe)"].mean()
as_good = next((s for s, a in zip(sizes, features, strict=True) if a >= pixels[-1]), None)
best = max(accuracy, key=lambda name: accuracy[name][-1])

assert test_of.p_value < 0.01 and features[-1] > pixels[-1]
assert all(f > p for f, p in zip(features, pixels, strict=True))
assert features[-1] > features[0] + 0.1, "more images help"
assert as_good is not None and as_good < sizes[-1]
assert best != "pixels, softmax"
Markdown(
    f"""**Found.** With {sizes[-1]} images a class the probe is right on {features[-1]:.0%} of the held-out pictures, the same classifier on pixels on
{pixels[-1]:.0%} (McNemar's test: p = {test_of.p_value:.0e}). With {as_good} images a class the features already do as well as the
pixels with {sizes[-1]}. From {sizes[0]} to {sizes[-1]} images the probe gains {100 * (features[-1] - features[0]):.0f} points, and the best of all with
{sizes[-1]} is "{best}". But look at the error bars before you order the three on features: with {len(test)} held-out
pictures an accuracy is known to about ± {100 * half_width:.0f} points."""
)

# %% [markdown]
# ## Which to use when
#
# | images a class | like ImageNet's photographs | unlike them (drawings, X-rays, textures) |
# | --- | --- | --- |
# | up to 20 | `probe` | `probe`, with `--features stages` to read earlier layers as well |
# | 20 to 200 | `probe`, then `last-layers` | `last-layers` |
# | more | `last-layers`, `full` | `full`, at a small learning rate |
#
# This is the course's rule. It is a starting point, no more: `finetune compare` measures it on your images, with intervals, and says
# which differences are more than chance. `last-layers` and `full` train parts of the network itself and take minutes
# instead of seconds on a laptop, so they are not run here. (A network must be fine-tuned at a small learning rate: its weights are good
# already.)
#
# ## More images, or another method?
#
# The curve also answers this: if it is still rising at its right end, label more images.

# %%
doublings = {name: [b - a for a, b in pairwise(v)] for name, v in accuracy.items()}
gains = {name: float(np.mean(v)) for name, v in doublings.items()}
plots.bars(
    plots.axes(width=6, height=2.2),
    {n: 100 * g for n, g in gains.items()},
    "points gained by doubling the images",
    digits=1,
)

# %%
assert all(gain > 0 for gain in gains.values())
Markdown(
    f"""**Found.** Each doubling of the images brought the probe {100 * gains["features, softmax (probe)"]:.1f} points on average, pixels
{100 * gains["pixels, softmax"]:.1f}. `finetune curve` draws this curve for your own images, and extends it."""
)

# %% [markdown]
# ## Exercises
#
# 1. How many parameters does the probe learn here, and how many has the network? Why can so few images suffice?
# 2. Which of your own sets of images would you expect to be *hard* for features of ImageNet?
# 3. The test images here come from the same source as the training images. Why does the accuracy say little about
#    photographs from another camera?
#
# <details>
# <summary>Solution 1</summary>
#
# $8 \cdot 1280 + 8 = 10{,}248$, against 3.4 million in the network below it. The 3.4 million were learned from 1.3 million photographs;
# only the 10,248 have to be learned from yours, and L2 keeps most of them small.
# </details>
#
# <details>
# <summary>Solution 2</summary>
#
# Those whose classes differ in what ImageNet's do not: counts, positions, mirror images, fine texture, brightness. A network
# trained on ImageNet has learned that a mirrored or slightly darker dog is the same dog.
# </details>
#
# <details>
# <summary>Solution 3</summary>
#
# Held-out images of the same source share its light, backgrounds and camera. The classifier may use these. The interval covers the chance
# of which images were drawn from *this* source only. Test on images from where it will be used.
# </details>

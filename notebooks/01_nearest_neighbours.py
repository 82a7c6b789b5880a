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
# # 1. Nearest neighbours
#
# **Question.** Can we classify an image by looking for the most similar images that we have labels for? And
# what does "similar" have to mean for that to work?
#
# **Idea.** An image is a long row of numbers. A picture of 32 x 32 pixels in three colours is a vector of 3,072
# numbers, a point in a space of 3,072 dimensions. Training stores all vectors with their labels. To predict, we
# measure the distance from the new image to every stored one, and let the $k$ nearest vote.
#
# Three usual distances between vectors $a$ and $b$:
#
# $$d_1 = \sum_i |a_i - b_i| \qquad d_2 = \sqrt{\sum_i (a_i - b_i)^2} \qquad
# d_{\cos} = 1 - \frac{a \cdot b}{\lVert a \rVert \, \lVert b \rVert}$$
#
# $L_2$ is dominated by the largest differences, $L_1$ counts all differences alike, and the cosine ignores how
# long the vectors are.
#
# $k$ and the distance are *hyperparameters*: nothing in the method sets them. We choose them by 5-fold
# cross-validation: four fifths of the images are stored, the last fifth is predicted, and every fifth takes its
# turn. Test images have no part in it.

# %%
import time

import numpy as np
import plots
from emoji import emoji
from IPython.display import Markdown

from finetune.data.plan import inner_folds, plain
from finetune.evaluation.comparisons import mcnemar
from finetune.heads.distances import ranks
from finetune.heads.knn import NeighbourSearch

images = emoji(per_class=60)
y, n_classes = images.y, len(images.classes)
folds = plain(inner_folds(y, None, 5))
Markdown(
    f"We use {len(y)} of the project's built-in pictures, emoji in {n_classes} classes: "
    f"{', '.join(images.classes)}. Guessing is right once in {n_classes}: {1 / n_classes:.1%}."
)

# %% [markdown]
# ## Which distance, and how many neighbours?
#
# `NeighbourSearch` is what `finetune --strategy knn` uses. It sorts the distances once and reads off the
# accuracy for every $k$. We give it two kinds of vectors: the pixels, and the 1,280 features that a CNN trained
# on ImageNet computes before its classifier. The error bars are the standard deviation over the five folds.

# %%
spaces = {"pixels": images.pixels, "CNN features": images.features}
K = 40
shown = [1, 2, 3, 5, 7, 10, 15, 20, 30, 40]
search = {name: NeighbourSearch(X, y, n_classes, folds, K, weights="uniform") for name, X in spaces.items()}
accuracy = {
    name: {
        metric: {p["k"]: (p["cv_accuracy"], p["cv_std"]) for p in found.curve() if p["metric"] == metric}
        for metric in ("l1", "l2", "cosine")
    }
    for name, found in search.items()
}

for ax, name in zip(plots.axes(1, 2), spaces, strict=True):
    lines = {metric: [by_k[k][0] for k in shown] for metric, by_k in accuracy[name].items()}
    errors = {metric: [by_k[k][1] for k in shown] for metric, by_k in accuracy[name].items()}
    plots.curves(
        ax, shown, lines, "neighbours k", "accuracy (5-fold)", errors=errors, log_x=True, title=f"on {name}"
    )
    ax.set(ylim=(0, 0.8))
    ax.set_xticks([1, 2, 5, 10, 20, 40], ["1", "2", "5", "10", "20", "40"])
    ax.minorticks_off()

# %%
best = {name: found.best() for name, found in search.items()}
reached = {name: accuracy[name][b.metric][b.k] for name, b in best.items()}
at_1 = {metric: accuracy["pixels"][metric][1][0] for metric in ("l1", "l2")}
correct = {name: found.out_of_fold().argmax(axis=1) == y for name, found in search.items()}
only_features = int((correct["CNN features"] & ~correct["pixels"]).sum())
only_pixels = int((correct["pixels"] & ~correct["CNN features"]).sum())
p_value = mcnemar(correct["CNN features"], correct["pixels"]).p_value
means = {m: [by_k[k][0] for k in shown] for m, by_k in accuracy["CNN features"].items()}

assert p_value < 0.01, "features are better than pixels by more than chance"
assert reached["pixels"][0] > 1 / n_classes, "pixels are better than guessing"
assert all(values[-1] < values[0] for values in means.values()), "many neighbours are worse than one"

Markdown(
    f"""**Found.** The best on pixels is {best["pixels"].metric} with k = {best["pixels"].k}:
{reached["pixels"][0]:.1%} ± {reached["pixels"][1]:.1%}. The best on the features is
{best["CNN features"].metric} with k = {best["CNN features"].k}: {reached["CNN features"][0]:.1%} ±
{reached["CNN features"][1]:.1%}. {only_features} of the {len(y)} pictures are predicted right with features only,
{only_pixels} with pixels only, which chance hardly explains (McNemar's test: p = {p_value:.1g}). With one neighbour on
pixels, L1 gives {at_1["l1"]:.1%} and L2 {at_1["l2"]:.1%}; the course notes (CS231n, "Image Classification") report
38.6% and 35.4% for the same two on CIFAR-10, whose photographs are harder. With 40 neighbours all curves are lower
than with one: of 48 stored pictures of a class, few resemble the one that we ask for."""
)

# %% [markdown]
# Are pixels that good? Look at the classes one by one.

# %%
by_class = {name: [float(right[y == c].mean()) for c in range(n_classes)] for name, right in correct.items()}
order = np.argsort(np.subtract(by_class["CNN features"], by_class["pixels"]))[::-1]
ax = plots.axes(width=7)
places = np.arange(n_classes)
for i, (name, values) in enumerate(by_class.items()):
    ax.barh(places + 0.2 - 0.4 * i, np.array(values)[order], height=0.36, color=plots.COLOURS[i], label=name)
ax.set_yticks(places, [images.classes[c] for c in order])
ax.set(xlabel="accuracy in the class (5-fold)", xlim=(0, 1))
_ = ax.legend(loc="lower left", bbox_to_anchor=(1, 0))

# %%
of = {c: i for i, c in enumerate(images.classes)}
flags, animals = of["Flags"], of["Animals & Nature"]
assert by_class["pixels"][flags] > 0.9
assert by_class["CNN features"][animals] > 1.5 * by_class["pixels"][animals]
Markdown(
    f"""**Found.** All flags have one outline, in one place: pixels recognise {by_class["pixels"][flags]:.0%} of them.
Animals come in every shape and colour: pixels recognise {by_class["pixels"][animals]:.0%}, features
{by_class["CNN features"][animals]:.0%}. ImageNet has animals in hundreds of classes, so the network has learned what
they look like."""
)

# %% [markdown]
# ## Why pixels are a poor space
#
# Two pictures are near in pixels if they have the same colours in the same places. What they show has little to
# do with it: a new background, a shift by a few pixels or another colour changes nearly all numbers. Below, the
# first picture of each row is the one that we ask for, followed by its five nearest neighbours. A frame means:
# of another class.

# %%
asked = [int(np.flatnonzero(y == c)[i]) for c, i in ((1, 5), (1, 30), (5, 12))]


def nearest(X, i, k=5):
    """Return the k nearest other images by cosine."""
    order = np.argsort(ranks(X[i : i + 1], X, "cosine")[0])
    return [int(j) for j in order if j != i][:k]


def show_neighbours(X):
    """Show each picture that we ask for, and its neighbours."""
    rows = [[i, *nearest(X, i)] for i in asked]
    flat = [j for row in rows for j in row]
    wrong = [bool(y[j] != y[row[0]]) for row in rows for j in row]
    plots.pictures(
        [images.picture(j) for j in flat], [images.classes[y[j]] for j in flat], 6, wrong=wrong, size=1.3
    )


show_neighbours(images.pixels)

# %% [markdown]
# The neighbours by pixels, above. By CNN features, below.

# %%
show_neighbours(images.features)

# %%
same = {
    name: np.mean([(y[np.array(nearest(X, i))] == y[i]).mean() for i in range(len(y))])
    for name, X in spaces.items()
}
shifted = np.roll(images.pixels.reshape(-1, 32, 32, 3), 4, axis=2).reshape(len(y), -1)
own = np.einsum("ij,ij->i", shifted - images.pixels, shifted - images.pixels)
distances = ranks(images.pixels, images.pixels, "l2")
np.fill_diagonal(distances, np.inf)
nearer = (distances.min(axis=1) < own).mean()

assert same["CNN features"] > 1.1 * same["pixels"]
assert nearer > 0.5
Markdown(
    f"""**Found.** Of the five nearest neighbours of a picture, {same["pixels"]:.0%} are of its class by pixels and
{same["CNN features"]:.0%} by features. And pixels do not even recognise the same picture: for {nearer:.0%} of
the pictures, some *other* picture is nearer (L2) than the picture itself moved four of its 32 pixels to the
side."""
)

# %% [markdown]
# ## What a prediction costs
#
# Training costs nothing, predicting a lot: each new image is compared with all $n$ stored ones, $n \cdot d$
# numbers. A linear classifier (next chapter) forgets the training images and keeps $c \cdot d$ numbers. This is the
# wrong way round for use: we train once, and predict for years.

# %%
sizes = [60, 120, 240, 480]
X = images.features


def fastest(call, repeats=7):
    """Return the shortest of several measurements in milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


rng = np.random.default_rng(0)
W = rng.standard_normal((n_classes, X.shape[1])).astype(np.float32)
stored = {n: rng.permutation(len(y))[:n] for n in sizes}
knn_ms = [fastest(lambda n=n: ranks(X[:100], X[stored[n]], "l1")) for n in sizes]
linear_ms = [fastest(lambda: X[:100] @ W.T) for _ in sizes]

plots.curves(
    plots.axes(width=5),
    sizes,
    {"nearest neighbours (L1)": knn_ms, "linear classifier": linear_ms},
    "stored training images",
    "ms for 100 predictions",
    log_x=True,
    log_y=True,
)

# %%
assert knn_ms[-1] > 3 * knn_ms[0], "the cost of a prediction grows with the training set"
assert knn_ms[-1] > 10 * linear_ms[-1]
Markdown(
    f"""**Found.** {sizes[-1] // sizes[0]} times as many stored images make a prediction take
{knn_ms[-1] / knn_ms[0]:.0f} times as long. The linear classifier keeps {n_classes} x {X.shape[1]} numbers however
many images it was trained on, and with {sizes[-1]} images takes less than a tenth of the time."""
)

# %% [markdown]
# ## Exercises
#
# 1. With $k = 1$, what is the accuracy on the *training* images? What does it say about the accuracy on new ones?
# 2. Subtract from each pixel its mean over all images. Which of the three distances change, and why?
# 3. `weights="distance"` lets near neighbours count more. At which $k$ would you expect it to matter most? Try it.
#
# <details>
# <summary>Solution 1</summary>
#
# 100%, as long as no two equal images have different labels: the nearest stored image is the image itself, at
# distance 0. It says nothing about new images. The experiment above found far less.
# </details>
#
# <details>
# <summary>Solution 2</summary>
#
# $L_1$ and $L_2$ do not change: the same numbers are subtracted from $a$ and $b$, and cancel in $a_i - b_i$. The
# cosine does change: it depends on where the origin is. `ranks(X - X.mean(axis=0), X - X.mean(axis=0), "cosine")`
# differs from `ranks(X, X, "cosine")`; with "l2" only rounding does.
# </details>
#
# <details>
# <summary>Solution 3</summary>
#
# At large $k$: there, many of the voters are far away, and weighting them down undoes some of the harm. At
# $k = 1$ and $k = 2$ it cannot hurt; with one voter the weight has no effect at all.
# `NeighbourSearch(X, y, n_classes, folds, 40, metric="cosine", weights="distance").curve()` has the figures.
# </details>

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
# # 7. Babysitting the learning process
#
# **Question.** A training runs, and the loss goes down a little. Is that what it can do, or is something broken?
#
# **Idea.** Some numbers are known beforehand. Compare them before you wait for hours:
#
# 1. With random small weights, all $c$ classes are equally probable: the softmax loss is $\log c$.
# 2. More regularisation makes the loss at the start higher.
# 3. Twenty images can be learned by heart: the loss goes to 0.
# 4. A learning rate is too low if the loss hardly moves, too high if it rises.
# 5. An update changes the weights by about a thousandth of their length:
#    $\lVert \Delta W \rVert / \lVert W \rVert \approx 10^{-3}$ (rule of the CS231n notes).
# 6. Training accuracy far above validation accuracy: too little regularisation or too few images.

# %%
import tempfile
from pathlib import Path

import numpy as np
import plots
from emoji import emoji
from IPython.display import Markdown
from sklearn.datasets import load_digits

from finetune.checks import check
from finetune.checks.tables import shown, verdict
from finetune.data.split import hold_out
from finetune.experiment import Request
from finetune.heads.descent import Descent, descend, step
from finetune.heads.mlp import MLP, objective

digits = load_digits()
y = digits.target
split = hold_out(y, seed=0)
X = digits.data - digits.data[split.train].mean(axis=0)
X = (X / X[split.train].std()).astype(np.float32)
C = 10


def ones(rows):
    """Return equal weights for some rows."""
    return np.ones(len(rows), np.float32)


# %% [markdown]
# ## The loss at the start, without and with L2

# %%
new = MLP.new("relu", X.shape[1], 64, C, seed=0)
strengths = [0.0, 0.01, 0.1]
at_start = {l2: objective(new, X[split.train], y[split.train], ones(split.train), l2)[0] for l2 in strengths}
plots.bars(
    plots.axes(width=5.5, height=1.9), {f"L2 = {l2:g}": v for l2, v in at_start.items()}, "loss at the start"
)

# %%
assert abs(at_start[0.0] - np.log(C)) < 0.1
assert at_start[0.0] < at_start[0.01] < at_start[0.1]
Markdown(
    f"""**Found.** Without L2 the loss is {at_start[0.0]:.3f}; log {C} = {np.log(C):.3f}. With more L2 it is higher, as it should
be."""
)

# %% [markdown]
# ## Twenty images by heart, and the same with a bug
#
# If twenty images cannot be learned, nothing can. The second curve has a common bug: the labels are not shuffled along with
# the images. That is still learned by heart! So the check finds a broken gradient (third curve: its sign is wrong in
# the last layer), but not wrong labels; for these, look at the validation accuracy.

# %%
rng = np.random.default_rng(0)
twenty = rng.permutation(split.train)[:20]


def learn(rows, labels, lr=0.1, updates=200, flip=False, l2=0.0):
    """Return the losses, the update-to-weight ratios and the network after plain gradient descent with momentum."""
    head = MLP.new("relu", X.shape[1], 64, C, seed=0)
    parameters = [p.copy() for p in head.parameters]
    velocity = [np.zeros_like(p) for p in parameters]
    losses, ratios = [], []
    for _ in range(updates):
        with np.errstate(all="ignore"):
            value, gradient = objective(head.with_parameters(parameters), X[rows], labels, ones(rows), 0.0)
            if not np.isfinite(value):
                break
            if flip:
                gradient[2] = -gradient[2]
            before = parameters[0].copy()
            step(parameters, velocity, gradient, np.float32(lr), Descent(l2=l2))
            ratios.append(np.linalg.norm(parameters[0] - before) / np.linalg.norm(before))
        losses.append(value)
    return np.array(losses), np.array(ratios), head.with_parameters(parameters)


heart = {
    "correct": learn(twenty, y[twenty])[0],
    "labels shuffled": learn(twenty, rng.permutation(y[twenty]))[0],
    "gradient's sign wrong": learn(twenty, y[twenty], flip=True)[0],
}
ax = plots.axes(width=5.5)
for i, (name, losses) in enumerate(heart.items()):
    ax.plot(np.arange(len(losses)), losses, color=plots.COLOURS[i], label=name, ls=("-", "--", ":")[i])
ax.set(xlabel="update", ylabel="loss on the 20 images", yscale="log")
_ = ax.legend(fontsize="small")

# %%
assert heart["correct"][-1] < 0.01 and heart["labels shuffled"][-1] < 0.05
wrong_end = heart["gradient's sign wrong"][-1]
assert wrong_end > 10 * heart["correct"][-1]
Markdown(
    f"""**Found.** After 200 updates the loss is {heart["correct"][-1]:.4f}; with shuffled labels {heart["labels shuffled"][-1]:.4f};
with the wrong sign {wrong_end:.2g} (after {len(heart["gradient's sign wrong"])} updates)."""
)

# %% [markdown]
# ## Learning rate too low, too high, and the update-to-weight ratio

# %%
few_hundred = split.train[:400]
rates = [1e-4, 1e-3, 1e-2, 1e-1, 3.0]
runs = {lr: learn(few_hundred, y[few_hundred], lr, updates=60) for lr in rates}
left, right = plots.axes(1, 2)
for i, (lr, (losses, ratios, _)) in enumerate(runs.items()):
    left.plot(losses, color=plots.COLOURS[i], label=f"{lr:g}")
    right.plot(ratios, color=plots.COLOURS[i], label=f"{lr:g}")
left.set(xlabel="update", ylabel="loss", yscale="log", ylim=(1e-3, 30))
right.set(xlabel="update", ylabel="|update| / |weights|, first layer", yscale="log")
right.axhline(1e-3, color="0.4", ls="--", lw=1)
_ = left.legend(title="learning rate", fontsize="small")

# %%
after = {lr: float(losses[-1]) for lr, (losses, _, _) in runs.items()}
early = {lr: float(ratios[5:15].mean()) for lr, (_, ratios, _) in runs.items()}
worked = [lr for lr in rates if after[lr] < 0.5]
assert after[1e-4] > 2.0, "too low: hardly moves"
assert max(runs[3.0][0]) > np.log(C) + 1, "too high: the loss rises above guessing"
assert all(1e-4 < early[lr] < 1e-1 for lr in worked)
assert early[1e-4] < 1e-4
Markdown(
    f"""**Found.** {rates[0]:g} hardly moves: {after[rates[0]]:.2f} after 60 updates, and each update changes the weights by
{early[rates[0]]:.0e} of their length. {rates[-1]:g} rises to a loss of {max(runs[3.0][0]):.0e}, far above guessing. Below 0.5 came
{", ".join(f"{lr:g} (ratio {early[lr]:.0e})" for lr in worked)}. So the ratio tells the order of magnitude, a thousandth to a
hundredth for this small network, and not the best learning rate."""
)

# %% [markdown]
# ## Training against validation
#
# The gap between the two curves is what has been learned by heart. We train on few digits, and on many.

# %%


def both_curves(n, l2=1e-4, epochs=20):
    """Return training and validation accuracy after each epoch."""
    rows = np.random.default_rng(0).permutation(split.train)[:n]
    kept = {"training": [], "validation": []}

    def watch(epoch, head):
        for name, part in (("training", rows), ("validation", split.test)):
            kept[name].append(float((head.decision_function(X[part]).argmax(axis=1) == y[part]).mean()))
        return False

    how = Descent(hidden=64, lr=0.05, l2=l2, epochs=epochs)
    descend(MLP.new("relu", X.shape[1], 64, C, 0), X[rows], y[rows], ones(rows), how, watch)
    return kept


gaps = {}
for ax, n in zip(plots.axes(1, 2), (100, len(split.train)), strict=True):
    kept = both_curves(n)
    gaps[n] = kept["training"][-1] - kept["validation"][-1]
    plots.curves(ax, np.arange(1, 21), kept, "epoch", "accuracy", title=f"{n} training images", markers=False)
    ax.set(ylim=(0.2, 1.02))

# %%
small, large = gaps.values()
assert small > 3 * large > 0
Markdown(
    f"""**Found.** With 100 images the gap is {100 * small:.1f} points, with {len(split.train)} it is {100 * large:.1f}. A large gap
asks for more images, more L2 or augmentation; no gap and a low accuracy ask for a larger network or a longer training."""
)

# %% [markdown]
# ## The same, by one command
#
# `finetune check` does all this for your images, and looks at the images and labels besides. Here on 30 emoji a class,
# with a hidden layer on the network's features.

# %%
images = emoji(per_class=30)
with tempfile.TemporaryDirectory() as name:
    folder = images.folder(Path(name) / "emoji")
    record = check(Request(data=str(folder)), "probe", head="mlp", out=Path(name) / "checks")

rows = "\n".join(
    f"| {r.status} | {r.check}: {r.name} | {shown(r)} | {r.threshold} | {r.meaning} |".replace(name, "")
    for r in record.checks
)
Markdown(f"| | check | value | should be | what it means |\n| --- | --- | --- | --- | --- |\n{rows}")

# %%
by_name = {(r.check, r.name): r for r in record.checks}
first = by_name["first-loss", "first loss"]
assert first.status == "pass" and abs(first.value - np.log(len(images.classes))) < 0.2 * np.log(
    len(images.classes)
)
Markdown(
    f"""**Found.** {verdict(record)} The first loss is {first.value:.2f}; log {len(images.classes)} =
{np.log(len(images.classes)):.2f}."""
)

# %% [markdown]
# ## Exercises
#
# 1. What is the loss at the start for the hinge loss and $c$ classes?
# 2. The loss at the start is 5.9 with 10 classes and no L2. What may be wrong?
# 3. Add `l2=1.0` to the run that learns twenty images by heart. Does it still reach 0?
#
# <details>
# <summary>Solution 1</summary>
#
# $c - 1$: every wrong class has a margin of 0 and costs 1.
# </details>
#
# <details>
# <summary>Solution 2</summary>
#
# The first scores are large: weights of the last layer drawn too large, or inputs not standardised (pixels from 0 to
# 255). The network starts confident, and wrong.
# </details>
#
# <details>
# <summary>Solution 3</summary>
#
# No. L2 pulls all weights towards 0 and the loss stays near $\log 10$. So switch regularisation off for this check.
# </details>

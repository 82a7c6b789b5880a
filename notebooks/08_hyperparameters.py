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
# # 8. Choosing hyperparameters
#
# **Question.** Learning rate, regularisation, size of the hidden layer: which values, and how do we look for them without
# fooling ourselves?
#
# **Idea.** Train with some values, measure on images that were *not* trained on, keep the best. Three rules make that work:
#
# * **Draw from the logarithm.** Learning rates of 0.001 and 0.002 differ as much as 0.1 and 0.2. So draw the exponent evenly,
#   $\eta = 10^{u}$ with $u$ uniform between, say, -6 and 1.
# * **Coarse to fine.** Few epochs over a wide range first, then more trials where it was good. If the best value lies at the border
#   of the range, the range was wrong.
# * **Random rather than grid.** Of two hyperparameters, usually one matters (Bergstra and Bengio 2012, "Random search for
#   hyper-parameter optimization", JMLR 13). Nine points of a grid try three values of it, nine random points try nine.
#
# The experiments train a small network on handwritten digits. And one thing for the end: the best of many trials looks better than it is, as it was chosen for its score. Evaluate it on other images.

# %%
import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import plots
from emoji import emoji
from IPython.display import Markdown
from rich.console import Console
from sklearn.datasets import load_digits

from finetune import fit
from finetune.data.split import hold_out
from finetune.heads.descent import Descent, Diverged, fit_mlp
from finetune.heads.linear import softmax_loss
from finetune.search.tables import print_search, sentence

digits = load_digits()
X, y, n_classes = digits.data.astype(np.float32), digits.target, 10
outer = hold_out(y, seed=0)
inside = hold_out(y[outer.train], seed=1)
train, validation, test = outer.train[inside.train], outer.train[inside.test], outer.test


def loss_of(lr, l2, epochs=3, rows=validation):
    """Return the loss on images that were not trained on; infinite where the training diverged."""
    try:
        _, scores = fit_mlp(X, y, n_classes, train, rows, Descent(hidden=32, lr=lr, l2=l2, epochs=epochs))
    except Diverged:
        return np.inf
    return float(softmax_loss(scores.T[None].copy(), y[rows])[0].mean())


# %% [markdown]
# ## Uniform against log-uniform
#
# Sixteen learning rates between 0.00001 and 10, drawn both ways.

# %%
rng = np.random.default_rng(0)
draws = {"uniform": rng.uniform(1e-5, 10, 16), "log-uniform": 10 ** rng.uniform(-5, 1, 16)}
losses = {name: np.array([loss_of(lr, 1e-3) for lr in rates]) for name, rates in draws.items()}
guessing = np.log(n_classes)
ax = plots.axes(width=5.5)
for i, (name, rates) in enumerate(draws.items()):
    worst = np.minimum(losses[name], 4)
    ax.scatter(rates, worst, color=plots.COLOURS[i], marker="os"[i], label=name)
ax.axhline(guessing, color="0.4", ls="--", lw=1)
ax.annotate("guessing", (1e-5, guessing), (0, 4), textcoords="offset points")
plots.log_axis(ax, "x")
ax.set(xlabel="learning rate", ylabel="validation loss (at most 4)")
_ = ax.legend()

# %%
useful = {name: int((values < 0.9 * guessing).sum()) for name, values in losses.items()}
assert useful["log-uniform"] > useful["uniform"]
Markdown(
    f"""**Found.** Of 16 learning rates each, {useful["uniform"]} uniform and {useful["log-uniform"]} log-uniform draws became clearly better than guessing.
A uniform draw lies above 1 nine times in ten, and the range that works lies far below."""
)

# %% [markdown]
# ## Coarse to fine
#
# Twelve trials over six decades of the learning rate and five of L2, one epoch each. Then twelve more around the best, with more
# epochs.

# %%


def draw(n, lr_range, l2_range, epochs, seed):
    """Return n trials: learning rates, values of L2, losses."""
    trial_rng = np.random.default_rng(seed)
    lrs = 10 ** trial_rng.uniform(*lr_range, n)
    l2s = 10 ** trial_rng.uniform(*l2_range, n)
    return lrs, l2s, np.array([loss_of(lr, l2, epochs) for lr, l2 in zip(lrs, l2s, strict=True)])


coarse = draw(12, (-5, 1), (-5, 0), 1, seed=0)
good = np.log10(coarse[0][np.argsort(coarse[2])[:3]])
fine_range = (float(good.min()) - 0.3, float(good.max()) + 0.3)
fine = draw(12, fine_range, (-5, 0), 5, seed=1)

for ax, (title, (lrs, l2s, found)) in zip(
    plots.axes(1, 2, width=4.8), {"coarse, 1 epoch": coarse, "fine, 5 epochs": fine}.items(), strict=True
):
    shown = ax.scatter(
        lrs, l2s, c=np.minimum(found, 3), cmap="viridis_r", s=70, edgecolor="0.3", vmin=0, vmax=3
    )
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="learning rate",
        ylabel="L2",
        title=title,
        xlim=(1e-5, 10),
        ylim=(1e-5, 1),
    )
    ax.figure.colorbar(shown, ax=ax, label="validation loss (at most 3)")

# %%
best = int(np.argmin(fine[2]))
lr, l2 = fine[0][best], fine[1][best]
at_border = min(np.log10(lr) - fine_range[0], fine_range[1] - np.log10(lr)) < 0.1
assert fine[2].min() < coarse[2].min()
assert np.median(fine[2]) < np.median(coarse[2])
Markdown(
    f"""**Found.** The best loss is {coarse[2].min():.2f} in the coarse search and {fine[2].min():.2f} in the fine one (learning rate {lr:.2g}, L2 {l2:.2g}); the
median trial improves from {np.median(coarse[2]):.2f} to {np.median(fine[2]):.2f}. The fine range of the learning rate was 10^{fine_range[0]:.1f} to 10^{fine_range[1]:.1f}; its best
value lies {"at the border: extend the range there" if at_border else "inside, not at the border"}."""
)

# %% [markdown]
# ## The border warning
#
# Suppose that we had searched the learning rate only up to 0.001. The best of that range is its upper end: the curve is still falling
# there. A best value at the border always means: extend the range.

# %%
path = 10 ** np.arange(-4.5, 0.1, 0.5)
by_lr = np.array([loss_of(value, 1e-3) for value in path])
narrow = path < 1.1e-3
ax = plots.axes(width=5.5)
plots.curves(ax, path, {"": np.minimum(by_lr, 4)}, "learning rate", "validation loss (at most 4)", log_x=True)
ax.axvspan(path[0], 1e-3, color="0.9", zorder=0)
_ = ax.annotate("searched", (path[0], ax.get_ylim()[0]), (3, 3), textcoords="offset points")

# %%
chosen, real = path[narrow][by_lr[narrow].argmin()], path[by_lr.argmin()]
assert np.isclose(chosen, path[narrow].max()), "the best of the narrow range is its end"
assert real > 1.1e-3
Markdown(
    f"""**Found.** In the narrow range {chosen:.2g} is the best, with a loss of {by_lr[narrow].min():.2f}; beyond it {real:.2g} reaches {by_lr.min():.2f}."""
)

# %% [markdown]
# ## `finetune search`
#
# The project's own search draws log-uniformly, learns from the trials where good values lie, stops bad ones early, cross-validates the
# best, and compares them with the defaults, with an interval. `fit(..., search={...})` does what `finetune search` does.

# %%
images = emoji(per_class=40)
with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
    folder = images.folder(Path(name) / "emoji")
    run = fit(folder, search={"trials": 15}, head="mlp", out=Path(name) / "run")
text = io.StringIO()
print_search(run.choice["search"], Console(file=text, width=100, force_jupyter=False))
print(text.getvalue())

# %%
found = run.choice["search"]
warned = [w for w in run.warnings if "range" in w or "end" in w]
top = found["finalists"][0]
default = next(p for p in found["finalists"] if p["default"])
assert found["trials"] >= 15
assert top["loss"] <= default["loss"], "the finalists are sorted, the best first"
Markdown(
    f"**Found.** After {found['trials']} trials. {sentence(found)} Values of the best at the border of their range: {len(warned)}."
)

# %% [markdown]
# ## Exercises
#
# 1. A grid of 4 x 4 x 4 x 4 values of four hyperparameters: how many trainings, and how many different learning rates?
# 2. Hyperparameters chosen on the test images give 93%, chosen by cross-validation 91%, each evaluated on the same test images. Which
#    number do you report?
# 3. Draw dropout (between 0 and 1): uniformly or log-uniformly?
#
# <details>
# <summary>Solution 1</summary>
#
# 256 trainings and only 4 learning rates. 256 random draws try 256 learning rates.
# </details>
#
# <details>
# <summary>Solution 2</summary>
#
# 91%. The 93% were chosen because they looked good on these very images, and would not hold on others.
# </details>
#
# <details>
# <summary>Solution 3</summary>
#
# Uniformly: 0.1 and 0.2 differ as 0.5 and 0.6 do. Log-uniform is for what multiplies: learning rates, L2, numbers of units.
# </details>

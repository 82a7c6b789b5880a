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
# # 6. Preprocessing, initialisation, batch normalisation
#
# **Question.** Two networks have the same layers, data and learning rate. One learns and one does not. What was wrong
# before the first step?
#
# **Idea.** A layer adds up $n$ inputs of variance $v$ with weights of variance $\sigma^2$. If the inputs have mean 0 and all is
# independent, its sums have variance
#
# $$\operatorname{Var}(s) = n \, \sigma^2 \, v$$
#
# so that each layer multiplies the variance by $n \sigma^2$. Below 1 the signal vanishes layer by layer, above 1 it explodes
# (or saturates). $\sigma^2 = 1/n$ keeps it (Xavier; Glorot and Bengio 2010). A ReLU drops half of it, so $\sigma^2 = 2/n$ (He
# and others 2015). Mean 0 of the inputs is what centring is for.

# %%
import numpy as np
import plots
import torch
from IPython.display import Markdown
from sklearn.datasets import load_digits

from finetune.heads.initial import he, xavier

# %% [markdown]
# ## Centring, and what happens without it
#
# We fit the same linear classifier by gradient descent to handwritten digits in two forms: with their mean
# subtracted, and with 2 added to every pixel. The information is the same. But with a large common mean, all
# gradients point into nearly the same direction, and the loss becomes a narrow valley: the condition number of the
# features' second moments says how narrow.

# %%
digits = load_digits()
raw, y = digits.data / 16, digits.target
centred = raw - raw.mean(axis=0)
forms = {"centred": centred, "as it is": raw, "2 added": raw + 2}


def losses_of(X, steps=60):
    """Return the loss over the updates, with the best of several learning rates."""
    X = np.hstack([X, np.ones((len(X), 1))])
    best = None
    for lr in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
        W, losses = np.zeros((10, X.shape[1])), []
        for _ in range(steps):
            scores = X @ W.T
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            losses.append(-np.log(p[np.arange(len(y)), y] + 1e-300).mean())
            p[np.arange(len(y)), y] -= 1
            W = W - lr * p.T @ X / len(X)
        if best is None or losses[-1] < best[-1]:
            best = losses
    return best


by_form = {name: losses_of(X) for name, X in forms.items()}
plots.curves(plots.axes(width=5.5), np.arange(60), by_form, "update", "loss", log_y=True, markers=False)

# %%
largest = {name: float(np.linalg.eigvalsh(X.T @ X / len(X))[-1]) for name, X in forms.items()}
ends = {name: values[-1] for name, values in by_form.items()}
assert abs(ends["centred"] - ends["as it is"]) < 0.05, "pixels from 0 to 1 are nearly as good"
assert ends["2 added"] > 2 * ends["centred"]
assert largest["2 added"] > 20 * largest["centred"]
Markdown(
    f"""**Found.** Each form with the best of six learning rates, the loss after 60 updates is
{", ".join(f"{v:.2f} ({n})" for n, v in ends.items())}. The steepest direction of the second moments is
{largest["2 added"] / largest["centred"]:.0f} times as steep with 2 added as centred: it dictates a small learning rate, with which
all other directions crawl. Pixels between 0 and 1, dark in most places, are harmless as they are."""
)

# %% [markdown]
# ## Activations layer by layer
#
# Ten layers of 500 units, fed with 300 inputs of mean 0 and deviation 1. Nothing is trained; we only look at what
# comes out of each layer.

# %%
DEPTH, WIDTH = 10, 500


def normal(deviation):
    """Return a function that draws weights of this deviation."""
    return lambda rng, outputs, inputs: deviation * rng.standard_normal((outputs, inputs))


schemes = {
    "small random (0.01), tanh": (normal(0.01), np.tanh),
    "large random (1), tanh": (normal(1.0), np.tanh),
    "Xavier, tanh": (xavier, np.tanh),
    "Xavier, ReLU": (xavier, lambda s: np.maximum(s, 0)),
    "He, ReLU": (he, lambda s: np.maximum(s, 0)),
}


def outputs_of(draw, activation):
    """Return what each layer passes on, a list of (300, 500) arrays."""
    rng = np.random.default_rng(0)
    h, kept = rng.standard_normal((300, WIDTH)), []
    for _ in range(DEPTH):
        h = activation(h @ draw(rng, WIDTH, WIDTH).T)
        kept.append(h)
    return kept


outputs = {name: outputs_of(*scheme) for name, scheme in schemes.items()}
layers = np.arange(1, DEPTH + 1)
left, right = plots.axes(1, 2, width=5)
plots.curves(
    left, layers, {n: [h.std() for h in hs] for n, hs in outputs.items()}, "layer", "deviation", log_y=True
)
plots.curves(right, layers, {n: [h.mean() for h in hs] for n, hs in outputs.items()}, "layer", "mean")

# %%
shown = (0, 3, 9)
grid = plots.axes(len(schemes), len(shown), width=3, height=1.7)
for row, (name, hs) in zip(grid, outputs.items(), strict=True):
    for ax, layer in zip(row, shown, strict=True):
        limits = (0, 4) if "ReLU" in name else (-1, 1)
        plots.histogram(ax, hs[layer], "output", limits, title=f"{name}: layer {layer + 1}")
        ax.title.set_fontsize("small")

# %%
last = {name: float(hs[-1].std()) for name, hs in outputs.items()}
saturated = float((np.abs(outputs["large random (1), tanh"][-1]) > 0.99).mean())
assert last["small random (0.01), tanh"] < 1e-4
assert saturated > 0.8
assert 0.1 < last["Xavier, tanh"] < 0.6
assert last["Xavier, ReLU"] < 0.1 * last["He, ReLU"]
assert 0.3 < last["He, ReLU"] < 1.5
expected = 0.01 * np.sqrt(WIDTH)
factor = (outputs["small random (0.01), tanh"][-1].std() / outputs["small random (0.01), tanh"][0].std()) ** (
    1 / 9
)
assert np.isclose(factor, expected, rtol=0.1)
Markdown(
    f"""**Found.** In layer {DEPTH} the outputs' deviation is {last["small random (0.01), tanh"]:.0e} with small weights: each layer
multiplies it by {factor:.3f}, as the formula says ({expected:.3f}). With large weights {saturated:.0%} of the tanh units are beyond
±0.99, so no gradient passes. Xavier keeps {last["Xavier, tanh"]:.2f} with tanh, but with ReLU falls to
{last["Xavier, ReLU"]:.3f}; He's factor 2 makes up for it: {last["He, ReLU"]:.2f}. The project draws new layers with these
two functions (`finetune/heads/initial.py`)."""
)

# %% [markdown]
# ## Batch normalisation
#
# If the right variance is what matters, why not enforce it? Batch normalisation (Ioffe and Szegedy 2015) subtracts a
# feature's mean over the *batch* and divides by its deviation, then scales and shifts by two learned numbers:
#
# $$\hat x = \frac{x - \mu_{\text{batch}}}{\sqrt{\sigma^2_{\text{batch}} + \varepsilon}} \qquad z = \gamma \hat x + \beta$$
#
# When predicting, an image must not depend on which others are in its batch. So training keeps running averages,
# $m \leftarrow 0.9\, m + 0.1\, \mu_{\text{batch}}$, and prediction uses those. Below, torch's layer is fed with batches of mean 3
# and deviation 2.

# %%
torch_rng = torch.Generator().manual_seed(0)
layer = torch.nn.BatchNorm1d(1)
means, variances = [], []
for _ in range(60):
    layer(3 + 2 * torch.randn(64, 1, generator=torch_rng))
    means.append(layer.running_mean.item())
    variances.append(layer.running_var.item())

updates = np.arange(1, 61)
expected_mean = 3 * (1 - 0.9**updates)
plots.curves(
    plots.axes(width=5.5),
    updates,
    {"running mean": means, "3 (1 - 0.9^t)": expected_mean, "running variance": variances},
    "batch",
    "running average",
    markers=False,
)

# %%
image = torch.tensor([[5.0]])
neighbours = [3 + 2 * torch.randn(63, 1, generator=torch_rng) for _ in range(5)]
before = layer.running_mean.clone()
layer.eval()
with torch.no_grad():
    evaluated = [layer(torch.cat([image, others]))[0].item() for others in neighbours]
assert torch.equal(layer.running_mean, before), "eval() leaves the averages alone"
layer.train()
with torch.no_grad():
    trained = [layer(torch.cat([image, others]))[0].item() for others in neighbours]
moved = abs(layer.running_mean.item() - before.item())

assert np.ptp(evaluated) < 1e-6 and np.ptp(trained) > 1e-3
assert moved > 0, "train() moves them even where no gradient is computed"
assert np.abs(np.array(means) - expected_mean)[-20:].max() < 0.5
Markdown(
    f"""**Found.** After 60 batches the running mean is {means[-1]:.2f} and the running variance {variances[-1]:.2f}; the data have
3 and 4. The same image among five different batches gives outputs that differ by {np.ptp(trained):.3f} in training mode and by
{np.ptp(evaluated):.0e} in evaluation mode. And five forward passes in training mode moved the running mean by {moved:.3f}, although
no gradient was computed."""
)

# %% [markdown]
# ## What freezing means
#
# That last point is a trap. "Freezing" a layer by `requires_grad = False` stops its weights, not its running
# averages: they drift with every forward pass in training mode. A frozen network is one that is in evaluation mode
# as well. In this project what is frozen stays byte-identical, running averages included, and
# `finetune check --strategy last-layers` proves it for the network at hand.

# %%
block = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
for parameter in block.parameters():
    parameter.requires_grad = False
pictures = torch.rand(16, 3, 8, 8, generator=torch_rng)


def changed(mode):
    """Return the names of what 3 forward passes in this mode change."""
    old = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    block.train(mode)
    for _ in range(3):
        block(pictures)
    return [name for name, tensor in block.state_dict().items() if not torch.equal(tensor, old[name])]


in_training, in_evaluation = changed(True), changed(False)
assert "1.running_mean" in in_training and in_evaluation == []
Markdown(
    f"""**Found.** With every weight frozen, training mode changes {", ".join(f"`{n}`" for n in in_training)}; evaluation mode
changes nothing."""
)

# %% [markdown]
# ## Exercises
#
# 1. Ten layers multiply the deviation by 1.1 each. And a hundred layers? What if it is 0.9?
# 2. Put a batch normalisation behind each layer of "large random (1), tanh". What share is saturated then?
# 3. Why is a batch of one image a problem for batch normalisation in training?
#
# <details>
# <summary>Solution 1</summary>
#
# $1.1^{10} = 2.6$ and $1.1^{100} = 13{,}781$; $0.9^{100} = 0.00003$. The deeper, the more exactly the factor has to be 1.
# </details>
#
# <details>
# <summary>Solution 2</summary>
#
# Normalised sums have deviation 1, and tanh exceeds 0.99 only where a sum exceeds 2.65: 0.8% of the units. Insert
# `s = (s - s.mean(axis=0)) / s.std(axis=0)` in front of the activation.
# </details>
#
# <details>
# <summary>Solution 3</summary>
#
# The mean of one value is the value itself: every output is $0 / \sqrt{0 + \varepsilon} = 0$, whatever the image shows. torch
# refuses it with an error. That happens with the last batch of an epoch if one image remains.
# </details>

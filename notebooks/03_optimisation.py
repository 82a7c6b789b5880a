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
# # 3. Optimisation
#
# **Question.** The loss says how good a $W$ is. How do we find a good one among all that there are?
#
# **Idea.** Imagine to stand blindfolded on a hill and to want to get down. You can jump to random places (random
# search), feel around your feet in each direction (the numerical gradient), or compute the slope from the
# formula (the analytic gradient). Then take a step downhill, and again:
#
# $$W \leftarrow W - \eta \, \nabla_W L(W)$$
#
# $\eta$ is the *learning rate*. For the softmax loss, with $p$ the predicted probabilities and $n$ images,
#
# $$\nabla_W L = \frac{1}{n} \sum_i \left(p_i - \text{onehot}(y_i)\right) x_i^\top + \lambda W$$

# %%
import numpy as np
import plots
from IPython.display import Markdown
from sklearn.datasets import load_digits

from finetune.heads.linear import softmax_loss

digits = load_digits()
X = (digits.data / 16).astype(np.float64)
X = np.hstack([X - X.mean(axis=0), np.ones((len(X), 1))])  # the column of ones makes the bias a weight
y = digits.target
n, d = X.shape
L2 = 1e-3


def loss_and_gradient(W, rows=slice(None)):
    """Return the mean softmax loss with its penalty, and the gradient."""
    x, labels = X[rows], y[rows]
    losses, slope = softmax_loss((W @ x.T)[None], labels)
    return losses.mean() + L2 / 2 * (W**2).sum(), slope[0] @ x / len(x) + L2 * W


start = np.zeros((10, d))
assert np.isclose(loss_and_gradient(start)[0], np.log(10)), "all scores equal: log 10"

# %% [markdown]
# ## From random search to the gradient
#
# All three get the same number of evaluations of the loss, $650$ here: enough for one numerical gradient, which
# costs one evaluation for each of the $10 \times 65$ weights.

# %%
budget = W_size = start.size
rng = np.random.default_rng(0)


def random_search():
    """Keep the best of random weights."""
    best, losses = np.inf, []
    for _ in range(budget):
        best = min(best, loss_and_gradient(rng.standard_normal(start.shape) * 0.3)[0])
        losses.append(best)
    return losses


def random_local_search():
    """Take a random step if it lowers the loss."""
    W, best, losses = start, loss_and_gradient(start)[0], []
    for _ in range(budget):
        tried = W + 0.05 * rng.standard_normal(W.shape)
        value = loss_and_gradient(tried)[0]
        if value < best:
            W, best = tried, value
        losses.append(best)
    return losses


def gradient_descent(lr, steps, momentum=0.0):
    """Follow the gradient."""
    W, velocity, losses = start.copy(), np.zeros_like(start), []
    for _ in range(steps):
        value, gradient = loss_and_gradient(W)
        losses.append(value)
        velocity = momentum * velocity - lr * gradient
        W = W + velocity
    return losses


found = {
    "random search": random_search(),
    "random steps": random_local_search(),
    "gradient descent": gradient_descent(1.0, budget),
}
plots.curves(
    plots.axes(width=5.5),
    np.arange(1, budget + 1),
    found,
    "evaluations of the loss",
    "least loss so far",
    log_x=True,
    log_y=True,
    markers=False,
)

# %%
last = {name: losses[-1] for name, losses in found.items()}
as_good = int(np.argmax(np.array(found["gradient descent"]) < last["random steps"])) + 1
assert last["gradient descent"] < last["random steps"] < last["random search"]
assert as_good < budget / 10
Markdown(
    f"""**Found.** After {budget} evaluations the loss is {last["random search"]:.2f} with random search,
{last["random steps"]:.2f} with random steps and {last["gradient descent"]:.2f} with gradient descent, which needed
{as_good} evaluations to beat what random steps reached in {budget}. Guessing has a loss of log 10 =
{np.log(10):.2f}."""
)

# %% [markdown]
# ## Gradient check
#
# The analytic gradient is fast but easy to get wrong. The numerical one is slow but hard to get wrong:
#
# $$\frac{\partial L}{\partial w} \approx \frac{L(w + h) - L(w - h)}{2h}$$
#
# So we compare them, by the relative error $|a - b| / \max(|a|, |b|)$. The rule of the CS231n notes: more than
# 1e-2 is wrong; 1e-4 is usual where the loss has kinks; 1e-7 or less is good. Below: the correct gradient,
# and one in which the penalty was forgotten, for step widths $h$ from 1e-1 to 1e-12.

# %%
W0 = 0.1 * rng.standard_normal(start.shape)
sample = rng.choice(W_size, 30, replace=False)


def numerical(h, entries):
    """Return the centred differences of some entries of W."""
    result = []
    for i in entries:
        moved = np.zeros(W_size)
        moved[i] = h
        step = moved.reshape(W0.shape)
        result.append((loss_and_gradient(W0 + step)[0] - loss_and_gradient(W0 - step)[0]) / (2 * h))
    return np.array(result)


def relative_error(a, b):
    """Return the median relative error."""
    return float(np.median(np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-12)))


steps_h = 10.0 ** -np.arange(1, 13)
analytic = loss_and_gradient(W0)[1].ravel()[sample]
forgotten = analytic - L2 * W0.ravel()[sample]
estimates = [numerical(h, sample) for h in steps_h]
checked = {
    "correct": [relative_error(analytic, e) for e in estimates],
    "penalty forgotten": [relative_error(forgotten, e) for e in estimates],
}
ax = plots.axes(width=5.5)
plots.curves(ax, steps_h, checked, "step width h", "relative error (median)", log_x=True, log_y=True)
ax.axhline(1e-7, color="0.4", ls="--", lw=1)
_ = ax.annotate("good below 1e-7", (steps_h[-1], 1e-7), (0, 3), textcoords="offset points", fontsize="small")

# %%
best_h = steps_h[int(np.argmin(checked["correct"]))]
assert min(checked["correct"]) < 1e-7
assert min(checked["penalty forgotten"]) > 100 * min(checked["correct"])
assert checked["correct"][0] > min(checked["correct"]) < checked["correct"][-1]
Markdown(
    f"""**Found.** The correct gradient agrees to {min(checked["correct"]):.0e} at h = {best_h:.0e}. Larger steps see
the curvature, smaller ones drown in rounding: at h = 1e-12 the same correct gradient "fails" with
{checked["correct"][-1]:.0e}. The one without its penalty never comes below
{min(checked["penalty forgotten"]):.0e}."""
)

# %% [markdown]
# ## Learning rate: too small, good, too large

# %%
rates = [0.1, 1.0, 10.0, 100.0]
by_rate = {f"learning rate {lr:g}": gradient_descent(lr, 100) for lr in rates}
plots.curves(
    plots.axes(width=5.5),
    np.arange(100),
    by_rate,
    "update",
    "loss",
    log_y=True,
    markers=False,
)

# %%
ends = {lr: losses[-1] for lr, losses in zip(rates, by_rate.values(), strict=True)}
best_rate = min(ends, key=ends.get)
assert best_rate not in (rates[0], rates[-1]), "the best learning rate lies inside the range"
largest = by_rate[f"learning rate {rates[-1]:g}"]
rises = int((np.diff(largest) > 0).sum())
assert rises >= 5, "too large a learning rate lets the loss rise again and again"
Markdown(
    f"""**Found.** After 100 updates: {", ".join(f"{v:.2f} with {lr:g}" for lr, v in ends.items())}. With
{rates[0]:g} the loss falls in a nearly straight line: too slow. With {rates[-1]:g} it rose {rises} times on its way:
each step goes across the valley and up the other side. {best_rate:g} is the best of these four."""
)

# %% [markdown]
# ## Mini-batches and their noise
#
# The gradient over all images is a mean. The mean over a few of them points nearly the same way and costs a
# fraction: a batch of 32 costs a fiftieth of 1,797 images. Left: how far the gradient of a batch is from that
# of all images, which should fall as $1 / \sqrt{\text{batch size}}$. Right: what loss is reached after looking at so
# many images.

# %%
full = loss_and_gradient(W0)[1]
batch_sizes = np.array([4, 16, 64, 256, 1024])
noise = []
for size in batch_sizes:
    errors = [np.linalg.norm(loss_and_gradient(W0, rng.integers(0, n, size))[1] - full) for _ in range(60)]
    noise.append(np.mean(errors) / np.linalg.norm(full))


def descend(batch_size, lr, epochs=4, decay=False):
    """Return how many images were seen, and the loss over all images then."""
    W, order_rng = start.copy(), np.random.default_rng(1)
    seen, losses = [0], [loss_and_gradient(W)[0]]
    updates = n // batch_size
    for epoch in range(epochs):
        order = order_rng.permutation(n)
        for i in range(updates):
            share = (epoch * updates + i) / (epochs * updates)
            rate = lr * (1 + np.cos(np.pi * share)) / 2 if decay else lr
            W = W - rate * loss_and_gradient(W, order[i * batch_size : (i + 1) * batch_size])[1]
            if (i + 1) % max(1, updates // 8) == 0:
                seen.append(epoch * n + (i + 1) * batch_size)
                losses.append(loss_and_gradient(W)[0])
    return np.array(seen), np.array(losses)


left, right = plots.axes(1, 2)
plots.curves(
    left,
    batch_sizes,
    {"measured": noise, "1 / √batch size": noise[0] * np.sqrt(batch_sizes[0] / batch_sizes)},
    "batch size",
    "distance to the gradient, relative",
    log_x=True,
    log_y=True,
)
runs = {size: descend(size, 1.0) for size in (n, 256, 32)}
for i, (size, (seen, losses)) in enumerate(runs.items()):
    right.plot(seen, losses, color=plots.COLOURS[i], marker="os^"[i], ms=3, label=f"batch size {size}")
right.set(xlabel="images looked at", ylabel="loss")
plots.log_axis(right, "y")
_ = right.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))

# %%
slope = np.polyfit(np.log(batch_sizes), np.log(noise), 1)[0]
assert -0.6 < slope < -0.4
reached = {size: losses[-1] for size, (_, losses) in runs.items()}
assert reached[32] < reached[256] < reached[n]
Markdown(
    f"""**Found.** The noise falls with the power {slope:.2f} of the batch size; theory says -0.50. After four passes
over the images the loss is {", ".join(f"{v:.2f} with batches of {size}" for size, v in reached.items())}: many
rough steps beat a few exact ones."""
)

# %% [markdown]
# ## Decay and momentum
#
# With a constant learning rate, noise keeps the weights moving around the lowest point. Letting the rate fall to
# zero lets them settle. *Momentum* keeps a share $\mu$ of the last step: $v \leftarrow \mu v - \eta \nabla L$,
# $W \leftarrow W + v$. Steps that agree add up, steps that alternate cancel. The project's own loop
# (`finetune/heads/descent.py`) does both.

# %%
left, right = plots.axes(1, 2)
constant, decayed = descend(8, 5.0, epochs=6), descend(8, 5.0, epochs=6, decay=True)
plots.curves(
    left,
    constant[0],
    {"constant": constant[1], "falls along a half cosine": decayed[1]},
    "images looked at",
    "loss over all images",
    log_y=True,
    markers=False,
    title="learning rate (batches of 8)",
)
with_momentum = {f"momentum {m:g}": gradient_descent(0.3, 100, m) for m in (0.0, 0.5, 0.9)}
plots.curves(
    right,
    np.arange(100),
    with_momentum,
    "update",
    "loss",
    log_y=True,
    markers=False,
    title="all images a step",
)

# %%
tail = slice(-8, None)
wobble = {"constant": np.ptp(constant[1][tail]), "decayed": np.ptp(decayed[1][tail])}
assert decayed[1][-1] < constant[1][-1] and wobble["decayed"] < wobble["constant"] / 3
by_momentum = [losses[-1] for losses in with_momentum.values()]
assert by_momentum[2] < by_momentum[1] < by_momentum[0]
Markdown(
    f"""**Found.** In the last pass the loss varies by {wobble["constant"]:.3f} with the constant learning rate and by
{wobble["decayed"]:.4f} with the falling one, which ends at {decayed[1][-1]:.3f} instead of {constant[1][-1]:.3f}.
Momentum 0.9 brings the loss after 100 updates from {by_momentum[0]:.2f} to {by_momentum[2]:.2f}."""
)

# %% [markdown]
# ## Exercises
#
# 1. How many evaluations of the loss does one numerical gradient of a network with 3.4 million weights cost
#    (EfficientNet-Lite0 without its classifier), with centred differences? At 20 ms each, how long is that?
# 2. Why are centred differences better than $(L(w+h) - L(w)) / h$? Compare both at $h = 10^{-3}$.
# 3. Momentum 0.9 with learning rate 0.3: which plain learning rate takes steps as long, once under way?
#
# <details>
# <summary>Solution 1</summary>
#
# Two a weight: 6.8 million. At 20 ms that is 136,000 seconds, a day and a half, for one step. Back-propagation
# (next chapter) costs about as much as two or three evaluations.
# </details>
#
# <details>
# <summary>Solution 2</summary>
#
# In Taylor's formula the terms with $h^2$ cancel between $L(w + h)$ and $L(w - h)$; the error is of order $h^2$ instead of
# $h$. At $h = 10^{-3}$ expect about a thousandth of the error.
# </details>
#
# <details>
# <summary>Solution 3</summary>
#
# If the gradient stays the same, the velocity becomes $-\eta g (1 + 0.9 + 0.81 + \dots) = -\eta g / (1 - 0.9)$: ten times
# as long, so 3.0. Try it; it comes close to the momentum curve, but 10 would not be stable while momentum 0.9 is.
# </details>

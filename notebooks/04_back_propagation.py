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
# # 4. Back-propagation
#
# **Question.** How is the gradient of a network with many layers computed, at the cost of about one more evaluation?
# And what does a hidden layer add to a linear classifier?
#
# **Idea.** Write the computation as a graph of simple gates. Forward, each gate computes its output from its inputs.
# Backward, each gate receives the gradient of the loss with respect to its output, multiplies it by its own
# local derivative, and passes it to its inputs. That is the chain rule:
#
# $$\frac{\partial L}{\partial x} = \frac{\partial L}{\partial z} \cdot \frac{\partial z}{\partial x}$$

# %%
import matplotlib.pyplot as plt
import numpy as np
import plots
import torch
from IPython.display import Markdown

from finetune.heads.descent import Descent, descend
from finetune.heads.mlp import MLP, objective

# %% [markdown]
# ## A graph, gate by gate
#
# $f(x, y, z, w) = 2 \, (x y + \max(z, w))$ at $x = 3$, $y = -4$, $z = 2$, $w = -1$. Blue numbers are computed forward,
# from left to right, orange ones backward.

# %%
value = {"x": 3.0, "y": -4.0, "z": 2.0, "w": -1.0}
value["xy"] = value["x"] * value["y"]
value["max"] = max(value["z"], value["w"])
value["sum"] = value["xy"] + value["max"]
value["f"] = 2 * value["sum"]

grad = {"f": 1.0}
grad["sum"] = 2 * grad["f"]
grad["xy"] = grad["max"] = grad["sum"]  # add: passes the gradient on, the same to both
grad["z"] = grad["max"] * (value["z"] > value["w"])  # max: all of it to the larger input
grad["w"] = grad["max"] * (value["w"] >= value["z"])
grad["x"] = grad["xy"] * value["y"]  # multiply: times the other input
grad["y"] = grad["xy"] * value["x"]

places = {
    "x": (0, 4.5), "y": (0, 3), "z": (0, 1.5), "w": (0, 0),
    "xy": (1.5, 3.75), "max": (1.5, 0.75), "sum": (3, 2.25), "f": (4.5, 2.25),
}  # fmt: skip
signs = {"xy": "×", "max": "max", "sum": "+", "f": "× 2"}
edges = [("x", "xy"), ("y", "xy"), ("z", "max"), ("w", "max"), ("xy", "sum"), ("max", "sum"), ("sum", "f")]

_, ax = plt.subplots(figsize=(8, 4.6))
for a, b in edges:
    ax.annotate(
        "",
        places[b],
        places[a],
        arrowprops={"arrowstyle": "->", "color": "0.6", "shrinkA": 16, "shrinkB": 16},
    )
for name, (px, py) in places.items():
    ax.text(
        px,
        py,
        signs.get(name, name),
        ha="center",
        va="center",
        bbox={"boxstyle": "circle", "fc": "white", "ec": "0.4"},
    )
    ax.text(px, py + 0.4, f"{value[name]:g}", ha="center", color=plots.COLOURS[0])
    ax.text(px, py - 0.62, f"{grad[name]:g}", ha="center", color=plots.COLOURS[1])
ax.set(
    xlim=(-0.5, 5),
    ylim=(-0.9, 5.2),
    title="value (blue, above) and gradient of f (orange, below) at each gate",
)
ax.set_axis_off()

# %%
inputs = {name: torch.tensor(value[name], requires_grad=True) for name in "xyzw"}
f = 2 * (inputs["x"] * inputs["y"] + torch.maximum(inputs["z"], inputs["w"]))
f.backward()
assert f.item() == value["f"]
assert all(inputs[name].grad.item() == grad[name] for name in inputs)
assert grad["xy"] == grad["max"] == grad["sum"]
assert grad["x"] == grad["sum"] * value["y"] and grad["y"] == grad["sum"] * value["x"]
Markdown(
    f"""**Found.** The **add** gate distributes: both inputs get its {grad["sum"]:g}. The **max** gate routes: z, the larger,
gets {grad["z"]:g} and w gets {grad["w"]:g}. The **multiply** gate swaps: x gets {grad["sum"]:g} times y, {grad["x"]:g}, and y gets
{grad["sum"]:g} times x, {grad["y"]:g}. So a large input of a multiplication gives the *other* side a large gradient, which is one
reason for centring data. torch computes the same numbers."""
)

# %% [markdown]
# ## Vectors: the Jacobian is never written down
#
# A gate from 4,096 numbers to 4,096 numbers, such as ReLU on a layer, has a Jacobian of 4,096 x 4,096 derivatives.
# Nobody computes it: as each output depends on its own input only, all but the diagonal is 0. Multiplying by it is
# an element-wise product with (input > 0). Here it is for 8 numbers.

# %%
rng = np.random.default_rng(0)
h = rng.standard_normal(8)
jacobian = torch.autograd.functional.jacobian(torch.relu, torch.tensor(h)).numpy()
upstream = rng.standard_normal(8)
ax = plots.axes(width=3.8)
shown = ax.imshow(jacobian, cmap="Blues", vmin=0, vmax=1)
ax.grid(False)
ax.set(xlabel="input number", ylabel="output number", title="Jacobian of ReLU on 8 numbers")
_ = ax.figure.colorbar(shown, label="derivative")

# %%
assert np.allclose(upstream @ jacobian, upstream * (h > 0))
assert np.count_nonzero(jacobian) == (h > 0).sum()
Markdown(
    f"""**Found.** {np.count_nonzero(jacobian)} of {jacobian.size} entries are not 0, one for each positive input.
The product with the Jacobian equals `upstream * (h > 0)`. For 4,096 numbers the matrix would have
{4096**2 / 1e6:.0f} million entries."""
)

# %% [markdown]
# ## A two-layer network in twenty lines
#
# $s = W_2 \max(0, W_1 x + b_1) + b_2$ with the softmax loss, all images of a batch at once. Each line of the
# backward pass mirrors one of the forward pass. Shapes help: a gradient has the shape of what it belongs to.

# %%


def loss_and_gradients(W1, b1, W2, b2, X, y, l2):
    """Return the loss of a batch and its gradients with respect to W1, b1, W2 and b2."""
    # forward
    sums = X @ W1.T + b1  # (n, h)
    hidden = np.maximum(sums, 0)
    scores = hidden @ W2.T + b2  # (n, c)
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    n = len(y)
    loss = -np.log(p[np.arange(n), y]).mean() + l2 / 2 * ((W1**2).sum() + (W2**2).sum())
    # backward
    d_scores = p.copy()
    d_scores[np.arange(n), y] -= 1
    d_scores /= n
    d_W2, d_b2 = d_scores.T @ hidden + l2 * W2, d_scores.sum(axis=0)
    d_hidden = d_scores @ W2
    d_sums = d_hidden * (sums > 0)
    d_W1, d_b1 = d_sums.T @ X + l2 * W1, d_sums.sum(axis=0)
    return loss, [d_W1, d_b1, d_W2, d_b2]


n, d, hidden_units, c, l2 = 50, 6, 12, 4, 0.01
X, y = rng.standard_normal((n, d)), rng.integers(0, c, n)
weights = [
    rng.standard_normal(shape) for shape in ((hidden_units, d), (hidden_units,), (c, hidden_units), (c,))
]
loss, gradients = loss_and_gradients(*weights, X, y, l2)

W1, b1, W2, b2 = tensors = [torch.tensor(w, requires_grad=True) for w in weights]
scores = torch.relu(torch.tensor(X) @ W1.T + b1) @ W2.T + b2
their_loss = torch.nn.functional.cross_entropy(scores, torch.tensor(y)) + l2 / 2 * (
    (W1**2).sum() + (W2**2).sum()
)
their_loss.backward()
worst = max(float(np.abs(g - t.grad.numpy()).max()) for g, t in zip(gradients, tensors, strict=True))

head = MLP("relu", *weights)
our_loss, ours = objective(head, X, y, np.ones(n), l2)
worst_ours = max(float(np.abs(g - o).max()) for g, o in zip(gradients, ours, strict=True))

# %%
assert abs(loss - their_loss.item()) < 1e-6 and worst < 1e-6
assert abs(loss - our_loss) < 1e-6 and worst_ours < 1e-6
Markdown(
    f"""**Found.** The loss is {loss:.6f}, by torch {their_loss.item():.6f}; no gradient differs by more than {worst:.0e}. The
project's own `finetune.heads.mlp.objective` agrees to {worst_ours:.0e}."""
)

# %% [markdown]
# ## What a hidden layer adds
#
# Three spiral arms in the plane. A linear classifier can only cut the plane with straight lines. A hidden unit
# bends it once; more of them bend it more often. The networks are the project's `MLP`, trained by its `descend`.

# %%


def spiral(per_class, noise, seed):
    """Return points on three spiral arms, (3 * per_class, 2), and the arms' numbers."""
    rng = np.random.default_rng(seed)
    radius = np.linspace(0.05, 1, per_class)
    points = []
    for arm in range(3):
        angle = 4 * radius + arm * 2 * np.pi / 3 + noise * rng.standard_normal(per_class)
        points.append(np.column_stack([radius * np.sin(angle), radius * np.cos(angle)]))
    return (2 * np.vstack(points)).astype(np.float32), np.repeat(np.arange(3), per_class)


P, arms = spiral(60, 0.7, 0)
P_new, arms_new = spiral(400, 0.7, 1)


def train(hidden, l2, seed=0):
    """Return a trained network."""
    how = Descent(hidden=hidden, lr=0.5, l2=l2, epochs=1500, seed=seed)
    return descend(MLP.new("relu", 2, hidden, 3, seed), P, arms, np.ones(len(P), np.float32), how)


def predict(network):
    """Return a function from points to classes."""
    return lambda points: network.decision_function(points).argmax(axis=1)


def accuracy(network, points, labels):
    """Return the share of points predicted right."""
    return float((predict(network)(points) == labels).mean())


units = [1, 3, 10, 100]
by_units = {h: train(h, 1e-4) for h in units}
for ax, (h, network) in zip(plots.axes(1, 4, width=3.2, height=3.2), by_units.items(), strict=True):
    plots.regions(ax, P, arms, predict(network), f"{h} hidden unit{'s' * (h > 1)}")

# %% [markdown]
# ## Regularisation
#
# With 100 units, the network can also bend around single points. L2 holds it back. Smaller networks would be a
# worse remedy: they cannot do what is needed either.

# %%
strengths = [0.0, 3e-3, 1e-2, 0.1]
by_l2 = {l2: train(100, l2) for l2 in strengths}
for ax, (strength, network) in zip(plots.axes(1, 4, width=3.2, height=3.2), by_l2.items(), strict=True):
    plots.regions(ax, P, arms, predict(network), f"100 units, L2 = {strength:g}")

# %%
left, right = plots.axes(1, 2)
both = {"training points": (P, arms), "new points": (P_new, arms_new)}
over_units = {name: [accuracy(m, *data) for m in by_units.values()] for name, data in both.items()}
over_l2 = {name: [accuracy(m, *data) for m in by_l2.values()] for name, data in both.items()}
plots.curves(left, units, over_units, "hidden units (L2 = 0.0001)", "accuracy", log_x=True)
plots.curves(right, np.arange(4), over_l2, "L2 (100 units)", "accuracy")
_ = right.set_xticks(np.arange(4), [f"{s:g}" for s in strengths])

# %%
new_units, new_l2 = over_units["new points"], over_l2["new points"]
gap = np.subtract(over_l2["training points"], new_l2)
assert new_units[-1] > new_units[0] + 0.1, "more units fit the spiral better"
assert gap[0] > gap[-1], "L2 narrows the gap"
assert new_l2[0] < max(new_l2) > new_l2[-1], "some L2 is better than none, and than too much"
Markdown(
    f"""**Found.** On new points: {", ".join(f"{a:.0%} with {h}" for a, h in zip(new_units, units, strict=True))} hidden units. With
100 units and no L2, {over_l2["training points"][0]:.0%} of the training points and {new_l2[0]:.0%} of new ones are right; the best
of the four values of L2 is {strengths[int(np.argmax(new_l2))]:g} with {max(new_l2):.0%}, and L2 = {strengths[-1]:g} is too much:
{new_l2[-1]:.0%}."""
)

# %% [markdown]
# ## Exercises
#
# 1. In the graph above, raise $w$ to 2.5. Which gradients change, and to what?
# 2. A variable is used twice, as in $f = x \cdot x$. What is its gradient by gates?
# 3. Why must the first weights be random? Set all of `W1` to 0.1 and look at `d_W1`.
#
# <details>
# <summary>Solution 1</summary>
#
# Now $w$ is the larger input of max: it gets 2 and $z$ gets 0. The gradients of $x$ and $y$ stay: the multiply gate
# does not see what is added to its output.
# </details>
#
# <details>
# <summary>Solution 2</summary>
#
# Each use sends back a gradient, and they add up: $x \cdot 1 + x \cdot 1 = 2x$. In code: `+=`, never `=`.
# </details>
#
# <details>
# <summary>Solution 3</summary>
#
# All hidden units compute the same. If the columns of `W2` are equal as well, they get the same gradient, and
# remain equal for ever: a hundred units that do the work of one. Random numbers break the symmetry.
# </details>

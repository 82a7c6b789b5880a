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
# # 5. Activations, and a little history
#
# **Question.** Which function should stand behind each layer's sums, and why did the field go from steps to
# sigmoids to rectifiers?
#
# **Idea.** Without a function between them, two layers are one: $W_2 (W_1 x) = (W_2 W_1) x$. The function must bend, and
# it decides what gradients get through: on the way back each gradient is multiplied by its slope.
#
# | year | unit | output | what it brought, and what it lacked |
# | --- | --- | --- | --- |
# | 1957 | perceptron (Rosenblatt) | $1$ if $w \cdot x > 0$, else $0$ | learns by a rule of its own; the step has no slope |
# | 1960 | Adaline (Widrow and Hoff) | $w \cdot x$ while it learns | least squares by gradient descent; linear |
# | 1986 | sigmoid (Rumelhart, Hinton and Williams) | $1 / (1 + e^{-x})$ | a slope, so back-propagation; but at most ¼, and almost 0 far out |
# | 1998 | tanh (LeCun and others recommend it) | $\tanh x$ | centred at 0; still flat far out |
# | 2010-12 | ReLU (Nair and Hinton; AlexNet) | $\max(0, x)$ | slope 1 for all positive sums; can die |
# | 2013 | leaky ReLU (Maas and others) | $\max(0.01 x, x)$ | does not die |
# | 2013 | maxout (Goodfellow and others) | $\max(w_1 \cdot x, w_2 \cdot x)$ | neither flat nor dying; twice the weights |
# | 2015 | ELU (Clevert and others) | $x$ or $e^x - 1$ | outputs near mean 0 |

# %%
import numpy as np
import plots
from IPython.display import Markdown
from sklearn.datasets import load_digits

from finetune.data.split import hold_out
from finetune.evaluation.intervals import accuracy_interval
from finetune.heads.descent import Descent, Diverged, fit_mlp, step
from finetune.heads.mlp import ACTIVATIONS, MLP, activate, back, objective

# %% [markdown]
# ## The perceptron's rule, and Adaline's
#
# The perceptron changes only when it is wrong: $w \leftarrow w + (y - \hat y)\, x$, with $y$ and $\hat y$ 0 or 1. If a line
# separates the classes, it finds one and stops. Adaline follows the gradient of the squared error of $w \cdot x$,
# $w \leftarrow w + \eta \,(t - w \cdot x)\, x$ with $t = \pm 1$, and so goes on to the best line in that sense, separable or not.

# %%
rng = np.random.default_rng(0)
blobs = {
    "separable": np.vstack([rng.normal((-1.5, -1), 0.6, (50, 2)), rng.normal((1.5, 1), 0.6, (50, 2))]),
    "overlapping": np.vstack([rng.normal((-0.6, -0.4), 0.9, (50, 2)), rng.normal((0.6, 0.4), 0.9, (50, 2))]),
}
sides = np.repeat([0, 1], 50)


def perceptron(X, epochs=50):
    """Return the number of mistakes in each epoch."""
    w, mistakes = np.zeros(3), []
    Z = np.column_stack([X, np.ones(len(X))])
    order_rng = np.random.default_rng(1)
    for _ in range(epochs):
        wrong = 0
        for i in order_rng.permutation(len(Z)):
            change = sides[i] - float(w @ Z[i] > 0)
            w += change * Z[i]
            wrong += change != 0
        mistakes.append(wrong)
    return mistakes


def adaline(X, epochs=50, lr=0.01):
    """Return the mean squared error in each epoch."""
    w, errors = np.zeros(3), []
    Z = np.column_stack([X, np.ones(len(X))])
    t = 2.0 * sides - 1
    order_rng = np.random.default_rng(1)
    for _ in range(epochs):
        for i in order_rng.permutation(len(Z)):
            w += lr * (t[i] - w @ Z[i]) * Z[i]
        errors.append(((t - Z @ w) ** 2).mean())
    return errors


mistakes = {name: perceptron(X) for name, X in blobs.items()}
squared = {name: adaline(X) for name, X in blobs.items()}
left, right = plots.axes(1, 2)
epochs = np.arange(1, 51)
plots.curves(left, epochs, mistakes, "epoch", "mistakes", title="perceptron", markers=False)
plots.curves(right, epochs, squared, "epoch", "mean squared error", title="Adaline", markers=False)

# %%
assert mistakes["separable"][-1] == 0
assert min(mistakes["overlapping"][10:]) > 0
late = np.array(squared["overlapping"][20:])
assert np.ptp(late) < 0.05
Markdown(
    f"""**Found.** On separable points the perceptron makes no mistake from epoch
{int(np.argmax(np.array(mistakes["separable"]) == 0)) + 1} on. On overlapping ones it never stops: between
{min(mistakes["overlapping"][10:])} and {max(mistakes["overlapping"][10:])} changes an epoch. Adaline settles in both cases;
its error on the overlapping points varies by {np.ptp(late):.3f} after epoch 20."""
)

# %% [markdown]
# ## The functions and their slopes
#
# The project's own `activate` and `back` compute these; the sigmoid is not among them, for reasons that follow.

# %%
x = np.linspace(-5, 5, 201)


def output(name, sums):
    """Return a layer's output; maxout is left out here, as it needs two sums a unit."""
    return 1 / (1 + np.exp(-sums)) if name == "sigmoid" else activate(sums, name)


def slope(name, sums):
    """Return the derivative of the output with respect to the sum."""
    out = output(name, sums)
    return out * (1 - out) if name == "sigmoid" else back(np.ones_like(sums), sums, out, name)


names = ("sigmoid", "tanh", "relu", "leaky_relu", "elu")
left, right = plots.axes(1, 2)
plots.curves(left, x, {n: output(n, x[None])[0] for n in names}, "sum", "output", markers=False)
plots.curves(right, x, {n: slope(n, x[None])[0] for n in names}, "sum", "slope", markers=False)
_ = left.set(ylim=(-1.5, 3))

# %%
steepest = {n: float(slope(n, x[None]).max()) for n in names}
far = {n: float(slope(n, np.array([[5.0]]))[0, 0]) for n in names}
assert np.isclose(steepest["sigmoid"], 0.25)
assert far["sigmoid"] < 0.01 and far["tanh"] < 0.001
assert far["relu"] == far["leaky_relu"] == far["elu"] == 1
sigmoid_outputs = output("sigmoid", rng.standard_normal((1000, 20)))
assert (sigmoid_outputs > 0).all()
Markdown(
    f"""**Found.** The sigmoid's slope is {steepest["sigmoid"]:.2f} at best and {far["sigmoid"]:.3f} at a sum of 5: a saturated
unit learns nothing. tanh is as bad there ({far["tanh"]:.4f}) but four times as steep in the middle. Also, the sigmoid's
outputs are all positive. The gradient of a weight of the next layer is (gradient of its sum) x (input), so that for
one image all weights of a unit move in the same direction, up or down together, and can only reach their place in
zigzags."""
)

# %% [markdown]
# ## Gradients by depth
#
# Ten layers of 100 units, weights of variance 1/inputs (times two for the rectifiers, as chapter 6 explains). A gradient of length 1 enters at
# the top. How much of it arrives at each layer below?

# %%
DEPTH, WIDTH = 10, 100


def gradient_by_depth(name):
    """Return the gradient's length at the sums of each layer, the top one as 1."""
    draw = np.random.default_rng(0)
    variance = (2 if "relu" in name else 1) / WIDTH
    h, kept = draw.standard_normal((200, WIDTH)), []
    for _ in range(DEPTH):
        W = np.sqrt(variance) * draw.standard_normal((WIDTH, WIDTH))
        sums = h @ W.T
        h = output(name, sums)
        kept.append((W, sums))
    gradient, lengths = draw.standard_normal(h.shape), []
    for W, sums in reversed(kept):
        gradient = gradient * slope(name, sums)
        lengths.append(np.sqrt((gradient**2).mean()))
        gradient = gradient @ W
    return np.array(lengths[::-1]) / lengths[0]


by_depth = {n: gradient_by_depth(n) for n in names}
plots.curves(
    plots.axes(width=5),
    np.arange(1, DEPTH + 1),
    by_depth,
    "layer (1 is nearest to the image)",
    "gradient, top layer = 1",
    log_y=True,
)

# %%
arriving = {n: float(v[0]) for n, v in by_depth.items()}
assert arriving["sigmoid"] < 1e-4
assert arriving["tanh"] > 0.03 and arriving["relu"] > 0.1
Markdown(
    f"""**Found.** In the first of {DEPTH} layers the gradient is {arriving["sigmoid"]:.0e} of that at the top with sigmoids,
{arriving["tanh"]:.2f} with tanh and {arriving["relu"]:.2f} with ReLU. The early layers of a deep sigmoid network hardly
learn. This is what kept networks shallow until about 2010."""
)

# %% [markdown]
# ## Accuracy
#
# The project's two-layer network on handwritten digits, with each function and four learning rates.

# %%
digits = load_digits()
X, y = digits.data.astype(np.float32), digits.target
split = hold_out(y, seed=0)
rates = [0.003, 0.03, 0.3, 1.0]
accuracy = {name: [] for name in ACTIVATIONS}
for name in ACTIVATIONS:
    for lr in rates:
        how = Descent(activation=name, hidden=64, lr=lr, l2=1e-4, epochs=10)
        try:
            _, scores = fit_mlp(X, y, 10, split.train, split.test, how)
        except Diverged:
            accuracy[name].append(np.nan)
        else:
            accuracy[name].append(float((scores.argmax(axis=1) == y[split.test]).mean()))
plots.curves(plots.axes(width=5.5), rates, accuracy, "learning rate", "held-out accuracy", log_x=True)

# %%
best = {name: np.nanmax(values) for name, values in accuracy.items()}
spread = max(best.values()) - min(best.values())
diverged = sum(int(np.isnan(v).sum()) for v in accuracy.values())
intervals = [
    accuracy_interval(np.arange(len(split.test)) < round(b * len(split.test))).ci95 for b in best.values()
]
assert min(best.values()) > 0.9
assert max(low for low, _ in intervals) < min(high for _, high in intervals), "the intervals overlap"
Markdown(
    f"""**Found.** With its best learning rate, each reaches {", ".join(f"{v:.1%} ({n})" for n, v in best.items())}. On
{len(split.test)} digits all their 95% intervals overlap: in a network with one hidden layer the function matters little.
{diverged} of {len(rates) * len(ACTIVATIONS)} trainings diverged and have no point."""
)

# %% [markdown]
# ## Dead units
#
# A ReLU unit is *dead* if its sum is negative for every training image: output 0, slope 0, so no gradient will ever
# wake it. Steps that are too large can do that. And it is easy where all inputs are positive: then one common decrease of the weights
# makes all sums negative. We make 30 updates with rising learning rates, on the pixels as they are (0 to 1) and centred, and count the units
# that pass no gradient for any image.

# %%
train = split.train
pixels = X / 16
inputs = {"pixels as they are": pixels, "centred": pixels - pixels[train].mean(axis=0)}
steps = [0.3, 1.0, 3.0, 10.0, 30.0]


def dead_share(name, Z, lr):
    """Return the share of hidden units that are dead after 30 updates."""
    head = MLP.new(name, Z.shape[1], 64, 10, seed=0)
    parameters = [p.copy() for p in head.parameters]
    velocity = [np.zeros_like(p) for p in parameters]
    how, weights = Descent(l2=0.0, momentum=0.0), np.ones(len(train), np.float32)
    with np.errstate(all="ignore"):  # a training that diverges is expected
        for _ in range(30):
            value, gradient = objective(head.with_parameters(parameters), Z[train], y[train], weights, 0.0)
            if not np.isfinite(value):
                break
            step(parameters, velocity, gradient, np.float32(lr), how)
        sums = Z[train] @ parameters[0].T + parameters[1]
        out = activate(sums, name)
        passed = back(np.ones_like(out), sums, out, name).reshape(len(train), 64, -1)
    return float((np.abs(passed).max(axis=(0, 2)) < 1e-3).mean())


dead = {
    form: {name: [dead_share(name, Z, lr) for lr in steps] for name in ("relu", "leaky_relu", "maxout")}
    for form, Z in inputs.items()
}
for ax, (form, lines) in zip(plots.axes(1, 2), dead.items(), strict=True):
    plots.curves(ax, steps, lines, "learning rate", "share of dead units", log_x=True, title=form)
    ax.set(ylim=(-0.03, 1.03))

# %%
raw_relu, centred_relu = dead["pixels as they are"]["relu"], dead["centred"]["relu"]
at = steps.index(3.0)
assert raw_relu[at] > 0.5 and centred_relu[at] < 0.05
assert centred_relu[-1] > 0.3
assert max(max(lines[name]) for lines in dead.values() for name in ("leaky_relu", "maxout")) == 0
Markdown(
    f"""**Found.** With a learning rate of {steps[at]:g}, {raw_relu[at]:.0%} of the ReLU units are dead on pixels as they are, and {centred_relu[at]:.0%} on centred ones; with
{steps[-1]:g}, {centred_relu[-1]:.0%} there too. No leaky or maxout unit ever is: they always pass a gradient (which does not save them from
diverging). The advice of the course: use ReLU, centre the data, watch the learning rate, count dead units (`finetune check` does), and never use
the sigmoid in hidden layers."""
)

# %% [markdown]
# ## AlexNet's place
#
# The winners of the ImageNet challenge by the error of their five best guesses, on the test set. Sources:
# Russakovsky and others 2015, "ImageNet Large Scale Visual Recognition Challenge", IJCV 115 (2010 to 2014); He and
# others 2016, "Deep residual learning for image recognition", CVPR (2015). A human annotator: 5.1%
# (Russakovsky, section 6.4).

# %%
winners = {
    "2010, NEC-UIUC": 28.2,
    "2011, XRCE": 25.8,
    "2012, AlexNet (8 layers)": 16.4,
    "2013, Clarifai": 11.7,
    "2014, GoogLeNet (22 layers)": 6.7,
    "2015, ResNet (152 layers)": 3.57,
}
human = {"for comparison: one human annotator": 5.1}
plots.bars(plots.axes(width=7), {**winners, **human}, "top-5 error in %", digits=1)

# %%
errors = list(winners.values())
drops = -np.diff(errors)
assert drops.argmax() == 1 and errors == sorted(errors, reverse=True)
Markdown(
    f"""**Found.** From 2011 to 2012 the error falls by {drops[1]:.1f} points, the largest step of all: the first
convolutional network among the winners, with ReLU, dropout and two GPUs."""
)

# %% [markdown]
# ## Exercises
#
# 1. Show that $\tanh(x) = 2 \sigma(2x) - 1$. How does its largest slope follow?
# 2. Start the biases of ReLU units at -3 instead of 0. What share is dead at the start, for standardised inputs?
# 3. Why can a maxout unit imitate both ReLU and leaky ReLU?
#
# <details>
# <summary>Solution 1</summary>
#
# $2 / (1 + e^{-2x}) - 1 = (1 - e^{-2x}) / (1 + e^{-2x}) = \tanh x$. By the chain rule its slope is $4 \sigma'(2x)$, at most
# $4 \cdot ¼ = 1$.
# </details>
#
# <details>
# <summary>Solution 2</summary>
#
# With He's weights the sums have deviation $\sqrt 2$, so a sum exceeds 3 in 1.7% of the images. A unit is dead only if it does so for
# *no* image of the training set: among 1,400 images that is rare. But such units learn from 1.7% of the images only.
# </details>
#
# <details>
# <summary>Solution 3</summary>
#
# It takes the larger of two sums. With $w_1 = 0$ it is $\max(0, w_2 x)$, ReLU; with $w_1 = 0.01 w_2$ it is leaky ReLU. It
# learns which, for twice the weights.
# </details>

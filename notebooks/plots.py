"""The figures of all notebooks: one look, colours that colour-blind readers can tell apart, every axis named.

Each function draws into an ``Axes``, so that a notebook decides only what stands beside what.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "COLOURS",
    "axes",
    "bars",
    "curves",
    "histogram",
    "log_axis",
    "pictures",
    "regions",
    "signed_pictures",
]

#: Okabe and Ito's colours (2008, "Color universal design"), the darker ones first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

#: Lines differ in their marker as well, for readers in black and white.
_MARKERS = "os^Dv*X"
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

plt.rcParams.update(
    {
        "axes.prop_cycle": plt.cycler(color=COLOURS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.grid": True,
        "axes.titlesize": "medium",
        "grid.color": "0.9",
        "axes.axisbelow": True,
        "legend.frameon": False,
        "figure.dpi": 90,
        "figure.constrained_layout.use": True,
    }
)


def axes(rows: int = 1, columns: int = 1, width: float = 4.2, height: float = 3.2) -> Any:
    """Return the axes of a new figure: one, or an array of them; `width` and `height` are inches each."""
    return plt.subplots(rows, columns, figsize=(width * columns, height * rows))[1]


def curves(
    ax: Axes,
    x: ArrayLike,
    lines: Mapping[str, ArrayLike],
    xlabel: str,
    ylabel: str,
    *,
    errors: Mapping[str, ArrayLike] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    title: str = "",
    markers: bool = True,
) -> None:
    """Draw lines over one x axis, each named in the legend.

    Parameters
    ----------
    ax : Axes
    x : (n,) array
    lines : dict of str to (n,) array
    xlabel, ylabel : str
    errors : dict of str to (n,) or (2, n) array, optional
        Half lengths of the error bars, or those below and above.
    log_x, log_y : bool, optional
    title : str, optional
    markers : bool, optional
        Without for lines of very many points.
    """
    for i, (name, y) in enumerate(lines.items()):
        style: dict[str, Any] = {"label": name, "color": COLOURS[i % len(COLOURS)], "lw": 1.5, "ms": 4}
        if markers:
            style["marker"] = _MARKERS[i % len(_MARKERS)]
        else:
            style["ls"] = _DASHES[i % len(_DASHES)]
        if errors and name in errors:
            ax.errorbar(x, np.asarray(y), np.asarray(errors[name]), capsize=2, **style)
        else:
            ax.plot(np.asarray(x), np.asarray(y), **style)
    if log_x:
        log_axis(ax, "x")
    if log_y:
        log_axis(ax, "y")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if len(lines) > 1:
        ax.legend(fontsize="small")


def log_axis(ax: Axes, which: str) -> None:
    """Make the axis ``x`` or ``y`` logarithmic, with plain numbers at 1, 2 and 5 where it is short."""
    getattr(ax, f"set_{which}scale")("log")
    axis = getattr(ax, f"{which}axis")
    low, high = sorted(axis.get_view_interval())
    if high / low < 500:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def bars(
    ax: Axes,
    values: Mapping[str, float],
    xlabel: str,
    *,
    errors: ArrayLike | None = None,
    title: str = "",
    digits: int = 2,
) -> None:
    """Draw a horizontal bar for each name, with its value beside it, the first on top."""
    places = np.arange(len(values))
    lengths = list(values.values())
    ax.barh(places, lengths, color=COLOURS[0], height=0.6, xerr=errors, capsize=2)
    beyond = np.zeros(len(values)) if errors is None else np.atleast_2d(np.asarray(errors))[-1]
    for place, value, error in zip(places, lengths, beyond, strict=True):
        ax.annotate(
            f"{value:.{digits}f}", (value + error, place), (4, 0), textcoords="offset points", va="center"
        )
    ax.set_yticks(places, list(values))
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.grid(axis="y", visible=False)
    ax.set(xlabel=xlabel, title=title)


def histogram(
    ax: Axes, values: ArrayLike, xlabel: str, limits: tuple[float, float], *, title: str = "", bins: int = 41
) -> None:
    """Draw what share of the values lies where between two limits."""
    flat = np.ravel(np.asarray(values))
    ax.hist(flat, bins=bins, range=limits, weights=np.full(len(flat), 1 / len(flat)), color=COLOURS[0])
    ax.set(xlabel=xlabel, ylabel="share", title=title)


def pictures(
    images: Sequence[Any],
    captions: Sequence[str],
    columns: int,
    *,
    wrong: Sequence[bool] = (),
    size: float = 1.1,
) -> None:
    """Show images in rows, each with its caption below; those marked as wrong have a frame.

    Parameters
    ----------
    images : sequence of images
        Whatever ``Axes.imshow`` takes.
    captions : sequence of str
        One for each image.
    columns : int
    wrong : sequence of bool, optional
        One for each image.
    size : float, optional
        Side of a picture in inches.
    """
    rows = -(-len(images) // columns)
    _, grid = plt.subplots(rows, columns, figsize=(columns * size, rows * (size + 0.2)), squeeze=False)
    for ax in grid.flat:
        ax.set_axis_off()
    for i, (ax, image, caption) in enumerate(zip(grid.flat, images, captions, strict=False)):
        ax.imshow(image, cmap="gray")
        ax.set_axis_on()
        ax.grid(False)
        ax.set(xticks=[], yticks=[])
        framed = bool(wrong) and wrong[i]
        for spine in ax.spines.values():
            spine.set(visible=framed, color=COLOURS[1], lw=2.5)
        ax.set_xlabel(caption, fontsize="x-small", color=COLOURS[1] if framed else "black")


def signed_pictures(
    images: Sequence[NDArray[Any]], captions: Sequence[str], columns: int, label: str = "weight"
) -> None:
    """Show arrays of weights: blue below zero, white at zero, red above, on one scale named beside them."""
    rows = -(-len(images) // columns)
    most = max(float(np.abs(image).max()) for image in images)
    figure, grid = plt.subplots(rows, columns, figsize=(columns * 1.2 + 0.8, rows * 1.35), squeeze=False)
    for ax in grid.flat:
        ax.set_axis_off()
    for ax, image, caption in zip(grid.flat, images, captions, strict=False):
        shown = ax.imshow(image, cmap="RdBu_r", vmin=-most, vmax=most)
        ax.set_title(caption, fontsize="small")
    figure.colorbar(shown, ax=grid, label=label, shrink=0.8)


def regions(
    ax: Axes, X: NDArray[Any], y: NDArray[Any], predict: Callable[[NDArray[Any]], NDArray[Any]], title: str
) -> None:
    """Draw points of the plane in their classes' colours over the class predicted at every place.

    Parameters
    ----------
    ax : Axes
    X : (n, 2) array
    y : (n,) int array
    predict : callable
        From (m, 2) points to (m,) class indices.
    title : str
    """
    (x0, y0), (x1, y1) = X.min(axis=0) - 0.3, X.max(axis=0) + 0.3
    xs, ys = np.meshgrid(np.linspace(x0, x1, 160), np.linspace(y0, y1, 160))
    n_classes = int(y.max()) + 1
    found = predict(np.column_stack([xs.ravel(), ys.ravel()]).astype(np.float32)).reshape(xs.shape)
    colours = ListedColormap(COLOURS[:n_classes])
    ax.pcolormesh(xs, ys, found, cmap=colours, vmin=-0.5, vmax=n_classes - 0.5, alpha=0.25, shading="auto")
    for c in range(n_classes):
        ax.scatter(*X[y == c].T, s=12, color=COLOURS[c], marker=_MARKERS[c], edgecolor="white", lw=0.3)
    ax.grid(False)
    ax.set(xlabel="first coordinate", ylabel="second coordinate", title=title)

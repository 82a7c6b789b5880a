"""The map of the features: every image as a point, near those with similar features.

The run folder holds it as ``feature_map.json`` beside ``feature_map.jpg``, a sheet of small pictures, so that
the report can be written again without the images.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from finetune.errors import OptionError, RunError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FILES", "LAYOUTS", "TILE", "FeatureMap", "MapPoint", "feature_map", "picture_sheet"]

Layout = Literal["pca", "tsne", "umap"]

LAYOUTS: tuple[str, ...] = get_args(Layout)

#: The names in a run folder: the points, and their pictures.
FILES = ("feature_map.json", "feature_map.jpg")

#: Images on a map at most, and held-out ones among them at most.
MOST, MOST_HELD_OUT = 2000, 1000

#: Pixels a side of each picture of the sheet; they stand in rows of as many as there are rows.
TILE = 32

#: Components that t-SNE starts from, as its authors do (van der Maaten and Hinton 2008, section 4.2).
FIRST_COMPONENTS = 30

#: As the heads do: a feature that hardly ever fires must not decide a place by itself.
SMALLEST_SCALE = 0.3

#: Deviations that a feature counts for at most. Otherwise a few images unlike all others take the map
#: for themselves: of 2,000 images of hand signs, the middle nine tenths are then on a fifth of its area, and
#: with this limit on a half.
FURTHEST = 3.0


@dataclass(frozen=True)
class MapPoint:
    """An image on the map.

    Attributes
    ----------
    path : str
        As in ``predictions.csv``.
    label : int
        Number of its class.
    held_out : bool
    x, y : float
        Its place.
    """

    path: str
    label: int
    held_out: bool
    x: float
    y: float


@dataclass(frozen=True)
class FeatureMap:
    """Images by their features, in two dimensions.

    Attributes
    ----------
    layout : str
        ``pca``, ``tsne`` or ``umap``.
    features : str
        What the features are, in a few words.
    explained : (float, float) or None
        Shares of the features' variance along the axes; None unless the layout is ``pca``.
    n_images : int
        How many there are, also where not all are on the map.
    points : tuple of MapPoint
        Training images, then held-out ones.
    """

    layout: str
    features: str
    explained: tuple[float, float] | None
    n_images: int
    points: tuple[MapPoint, ...]

    def save(self, folder: Path, sheet: Image.Image | None) -> None:
        """Write it, and a sheet of pictures if there is one."""
        (folder / FILES[0]).write_text(self.to_json(), encoding="utf-8")
        if sheet is not None:
            file = io.BytesIO()
            sheet.save(file, "JPEG", quality=70)
            (folder / FILES[1]).write_bytes(file.getvalue())

    def to_json(self) -> str:
        """Return it as text, a list for each point."""
        return json.dumps({**asdict(self), "points": [list(asdict(p).values()) for p in self.points]})

    @classmethod
    def load(cls, folder: Path) -> FeatureMap | None:
        """Read what :meth:`save` wrote; None where there is none.

        Raises
        ------
        RunError
            If the file is damaged.
        """
        path = folder / FILES[0]
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            points = tuple(MapPoint(*point) for point in record.pop("points"))
            explained = record.pop("explained")
            shares = None if explained is None else (float(explained[0]), float(explained[1]))
            return cls(**record, explained=shares, points=points)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(f"{path} cannot be read ({error}).", "Train again with finetune.") from error

    def arranged(self, X: NDArray[np.float32], layout: str, seed: int) -> FeatureMap:
        """Return the same images in another layout; `X` are their features, in the order of the points."""
        held_out = np.array([point.held_out for point in self.points])
        places, explained = coordinates(X, ~held_out, layout, seed)
        points = tuple(
            replace(point, x=x, y=y) for point, (x, y) in zip(self.points, places.tolist(), strict=True)
        )
        return replace(self, layout=layout, explained=explained, points=points)


def feature_map(
    X: NDArray[np.float32],
    names: Sequence[str],
    labels: NDArray[np.int64],
    held_out: NDArray[np.int64],
    features: str,
    layout: str = "pca",
    seed: int = 0,
) -> tuple[FeatureMap, NDArray[np.int64]]:
    """Map images by their features.

    Parameters
    ----------
    X : (n, d) array
        Features.
    names : sequence of str
        The images' paths, as in ``predictions.csv``.
    labels : (n,) int array
        Class indices.
    held_out : int array
        Rows of the held-out images.
    features : str
        What the features are, in a few words.
    layout : str, optional
        One of :data:`LAYOUTS`.
    seed : int, optional
        Of the images drawn where there are more than `MOST`, and of the layout.

    Returns
    -------
    FeatureMap
    rows : int array
        Which images are on it, in the order of its points.
    """
    rng = np.random.default_rng([seed, 3])
    train = np.setdiff1d(np.arange(len(X)), held_out)
    test = _some(held_out, min(MOST_HELD_OUT, MOST), rng)
    train = _some(train, MOST - len(test), rng)
    rows = np.concatenate([train, test])
    on = np.arange(len(rows)) >= len(train)
    places, explained = coordinates(X[rows], ~on, layout, seed)
    points = tuple(
        MapPoint(names[row], int(labels[row]), bool(held), x, y)
        for row, held, (x, y) in zip(rows, on, places.tolist(), strict=True)
    )
    return FeatureMap(layout, features, explained, len(X), points), rows


def coordinates(
    X: NDArray[np.float32], train: NDArray[np.bool_], layout: str, seed: int
) -> tuple[NDArray[np.float64], tuple[float, float] | None]:
    """Place images in two dimensions.

    Parameters
    ----------
    X : (n, d) array
        Features; each is standardised by the training images first, and limited to `FURTHEST` deviations.
    train : (n,) bool array
        Which images are training images. PCA is fitted to them alone; t-SNE and UMAP place all at once.
    layout : str
        One of :data:`LAYOUTS`.
    seed : int

    Returns
    -------
    places : (n, 2) array
        Rounded to four significant digits of the largest.
    explained : (float, float) or None
        Shares of the training images' variance, for PCA.

    Raises
    ------
    OptionError
        If the layout is unknown, or UMAP is not installed.
    """
    if layout not in LAYOUTS:
        raise OptionError(f"There is no map {layout!r}.", f"Choose from {', '.join(LAYOUTS)}.")
    scale = X[train].std(axis=0)
    typical = np.median(scale[scale > 0]) if (scale > 0).any() else 1.0
    Z = (X - X[train].mean(axis=0)) / np.maximum(scale, SMALLEST_SCALE * typical)
    Z = np.clip(Z, -FURTHEST, FURTHEST)
    explained = None
    if layout == "umap":
        places = _umap(Z, seed)
    else:
        n = 2 if layout == "pca" else FIRST_COMPONENTS
        places, shares = _principal(Z, train, n, seed)
        explained = (float(shares[0]), float(shares[1])) if layout == "pca" else None
        places = _tsne(places, seed) if layout == "tsne" else places
    digits = 3 - math.floor(math.log10(float(np.abs(places).max()) or 1.0))
    return np.asarray(places, np.float64).round(digits), explained


def _some(rows: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _principal(
    Z: NDArray[Any], train: NDArray[np.bool_], n: int, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first principal components of the training images, and their shares of the variance.

    By power iteration on a random subspace (Halko, Martinsson and Tropp 2011, "Finding structure with
    randomness", SIAM Review 53). scikit-learn's PCA does the same; importing it takes most of a second, which
    a run on stored features has no other need for.
    """
    mean = Z[train].mean(axis=0)
    A = Z[train] - mean
    Q = np.random.default_rng([seed, 4]).normal(size=(A.shape[1], min(n + 8, A.shape[1])))
    for _ in range(8):
        Q, _ = np.linalg.qr(A.T @ (A @ Q))
    _, lengths, axes = np.linalg.svd(A @ Q, full_matrices=False)
    V = (Q @ axes.T)[:, :n]
    V = V * np.where(V[np.abs(V).argmax(axis=0), np.arange(V.shape[1])] < 0, -1, 1)  # one sign of two
    shares = lengths[: V.shape[1]] ** 2 / (float((A**2).sum()) or 1.0)
    missing = n - V.shape[1]
    return np.pad((Z - mean) @ V, ((0, 0), (0, missing))), np.pad(shares, (0, missing))


def _tsne(places: NDArray[Any], seed: int) -> NDArray[Any]:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max(1.0, (len(places) - 1) / 3))
    return np.asarray(
        TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(places)
    )


def _umap(Z: NDArray[Any], seed: int) -> NDArray[Any]:
    try:
        import umap
    except ImportError as error:
        raise OptionError(
            "UMAP is not installed.", 'Install it with: pip install "finetune-zoo[umap]", or use --map tsne.'
        ) from error
    neighbours = max(2, min(15, len(Z) - 1))
    return np.asarray(umap.UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(Z))


def picture_sheet(pixels: NDArray[np.float32], widths: NDArray[Any], heights: NDArray[Any]) -> Image.Image:
    """Put small pictures of images on one sheet, row by row, as many in a row as there are rows.

    Parameters
    ----------
    pixels : (n, 3072) array
        Their colours on 32 x 32 pixels, from 0 to 1 (:class:`zoo.features.spaces.RawPixels`).
    widths, heights : (n,) array
        Of the images, for the shape that the shrinking to squares took from them.

    Returns
    -------
    Image
        Of `TILE` pixels a picture, each centred on grey.
    """
    from PIL import Image

    across = max(1, math.ceil(math.sqrt(len(pixels))))
    sheet = Image.new("RGB", (across * TILE, math.ceil(len(pixels) / across) * TILE), (128, 128, 128))
    squares = (pixels.reshape(-1, 32, 32, 3) * 255).round().astype(np.uint8)
    for i, (square, width, height) in enumerate(zip(squares, widths, heights, strict=True)):
        longest = max(float(width), float(height), 1.0)
        size = max(1, round(TILE * float(width) / longest)), max(1, round(TILE * float(height) / longest))
        image = Image.fromarray(square).resize(size, Image.Resampling.BILINEAR)
        left, top = i % across * TILE, i // across * TILE
        sheet.paste(image, (left + (TILE - size[0]) // 2, top + (TILE - size[1]) // 2))
    return sheet

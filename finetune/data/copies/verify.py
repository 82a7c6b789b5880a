"""Whether two images show one thing: the same detail in the same places, once one is laid over the other.

Where the pictures are alike as a whole, one is turned or mirrored and laid over the other as it is. Else
matching keypoints say how it has to be moved, turned and scaled (RANSAC, Fischler and Bolles 1981); OpenCV's
draws with a fixed seed of its own (opencv/opencv#24835), so that a pair always has the same result.

Most pairs that are looked at are no copies, so that each way of laying one over the other is tried with
little first: few keypoints, and the correlation of all detail at once.

Keypoints alone take two pictures of a kind (two hands, two radiographs) for one scene. So the decision is
made on detail: what is left of the pictures without their coarse light and shade.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from finetune.data.copies.candidates import ORIENTATIONS, orient
from finetune.data.copies.keypoints import MIRRORED, SIDE, Keypoints

__all__ = ["METHOD", "Overlay", "compare"]

#: What a result depends on besides the two images, for cache keys. Raise the number when the code changes.
METHOD = "overlay, ORB similarity in two passes, detail, 2"

# Finding out how one picture lies on the other: keypoints of the first picture that are looked for, among how
# many of the second; how many have to follow one similarity; and the most that RANSAC draws.
_PASSES = ((50, 300, 5, 100), (MIRRORED, 400, 10, 500))
_RATIO = 0.8  # Lowe 2004: a match is nearer than the second nearest by this factor
_PIXELS = 3 * SIDE / 320  # how far an inlier may be off
_LEAST_OVERLAP = 0.3

# Comparing detail.
_BLUR = 2.0  # pixels; what is coarser is light and shade, alike in many pictures of a kind
_WINDOW = 15  # pixels a side
_CONTRAST = 1.5  # grey levels; a window with less has no detail
_SAME = 0.5  # correlation from which a window shows the same
_LIKELY = 0.3  # correlation of all detail from which windows are compared; copies have 0.5 at least

# Deciding. docs/copies.md has the distributions that these were chosen from.
_AGREE, _SURE = 0.7, 0.8
_AGREE_COVERED, _MEDIAN_COVERED = 0.4, 0.9
_AGREE_DRAWINGS, _SHADES_DRAWINGS = 0.985, 0.97


@dataclass(frozen=True)
class Overlay:
    """How well a picture agrees with another that it is laid over.

    Attributes
    ----------
    inliers : int
        Keypoints that agree on where it lies; 0 where it was laid over as it is.
    mirrored : bool
        Whether it was mirrored for it.
    agree : float
        Of the windows with detail in either picture, the share that have the same detail.
    median : float
        Of the correlation of windows with detail in both.
    shades : float
        Correlation of the two pictures, coarse light and shade included.
    drawings : bool
        Whether both are drawings.
    """

    inliers: int
    mirrored: bool
    agree: float
    median: float
    shades: float
    drawings: bool


def compare(a: Keypoints, b: Keypoints, orientation: int = -1) -> Overlay | None:
    """Lay one picture over another, in the ways in which they may show one thing.

    Parameters
    ----------
    a, b : Keypoints
        Of two images.
    orientation : int, optional
        In which of `finetune.data.copies.candidates.ORIENTATIONS` they are alike as a whole; -1 for none.

    Returns
    -------
    Overlay or None
        The first that shows one thing twice: as it is, then by keypoints, plain or mirrored (both where no
        orientation is named). None if there is none.
    """
    for overlay in _overlays(a, b, orientation):
        # Keypoints that barely bring the pictures together must do so in both directions.
        sure = overlay.inliers == 0 or overlay.agree >= _SURE
        if _is_copy(overlay) and (sure or any(_is_copy(back) for back in _overlays(b, a, -1))):
            return overlay
    return None


def _is_copy(overlay: Overlay) -> bool:
    """Decide whether an overlay shows one thing twice.

    Photographs: most of the detail is the same; or, where the frame is too, much of the detail is, and that
    nearly perfectly: a watermark covers the rest. Drawings of a kind share whole outlines (faces, flags, the
    template of a form), so nearly everything must be the same.
    """
    if overlay.drawings:
        return overlay.agree >= _AGREE_DRAWINGS and overlay.shades >= _SHADES_DRAWINGS
    covered = overlay.inliers == 0 and overlay.agree >= _AGREE_COVERED and overlay.median >= _MEDIAN_COVERED
    return overlay.agree >= _AGREE or covered


def _overlays(a: Keypoints, b: Keypoints, orientation: int) -> Iterator[Overlay]:
    """Lay one picture over the other in each way that there is, none before it is asked for."""
    drawings = a.drawing and b.drawing
    height, width = b.grey.shape
    ways: tuple[bool, ...] = (False, True)
    if orientation >= 0:
        laid = _scaled(np.ascontiguousarray(orient(a.grey, orientation)), width, height)
        if _likeness(laid, b.grey) >= _LIKELY:
            yield _overlay(laid, b.grey, np.ones((height, width), bool), 0, False, drawings)
        # Each of the three turns a picture into its mirror image.
        ways = (sum(ORIENTATIONS[orientation]) % 2 == 1,)
    for mirrored in ways:
        move, inliers = _move(a, b, mirrored)
        if move is None:
            continue
        grey = np.ascontiguousarray(a.grey[:, ::-1]) if mirrored else a.grey
        moved = cv2.warpAffine(grey, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
        covered = cv2.warpAffine(np.ones(grey.shape, np.float32), move, (width, height)) > 0.99
        if covered.mean() >= _LEAST_OVERLAP:
            yield _overlay(np.asarray(moved, np.uint8), b.grey, covered, inliers, mirrored, drawings)


def _move(a: Keypoints, b: Keypoints, mirrored: bool) -> tuple[NDArray[np.float64] | None, int]:
    """The similarity that brings the first picture's keypoints to the second's, and how many follow it."""
    move, count = None, 0
    for wanted, among, least, draws in _PASSES:
        if min(len(a.places), len(b.places)) < least:
            return None, 0
        first = (a.mirrored if mirrored else a.plain)[:wanted]
        distances, nearest = cv2.batchDistance(
            first, b.plain[:among], cv2.CV_32S, normType=cv2.NORM_HAMMING, K=2
        )
        matched = distances[:, 0] < _RATIO * distances[:, 1]
        if np.count_nonzero(matched) < least:
            return None, 0
        places = a.places[: len(first)][matched]
        if mirrored:
            places = np.stack([a.grey.shape[1] - 1 - places[:, 0], places[:, 1]], axis=1)
        move, inliers = cv2.estimateAffinePartial2D(
            places,
            b.places[nearest[matched, 0]],
            method=cv2.RANSAC,
            ransacReprojThreshold=_PIXELS,
            maxIters=draws,
        )
        count = 0 if move is None else int(np.count_nonzero(inliers))
        if count < least:
            return None, 0
    return np.asarray(move, np.float64), count


def _overlay(
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    covered: NDArray[np.bool_],
    inliers: int,
    mirrored: bool,
    drawings: bool,
) -> Overlay:
    """Compare two pictures of one size where both are known."""
    agree, median = _agreement(_detail(a, _BLUR), _detail(b, _BLUR), covered)
    shades = _correlation(a[covered].astype(np.float32), b[covered].astype(np.float32))
    return Overlay(inliers, mirrored, agree, median, shades, drawings)


def _likeness(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Correlation of the detail of two pictures, at half their size, which tells most that differ.

    No detail counts for more than twice the mean: a watermark must not outweigh all else.
    """
    details = []
    for picture in (a, b):
        height, width = picture.shape
        detail = _detail(_scaled(picture, max(width // 2, 1), max(height // 2, 1)), _BLUR / 2)
        limit = 2 * float(np.abs(detail).mean())
        details.append(np.clip(detail, -limit, limit).ravel())
    return _correlation(*details)


def _scaled(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _detail(grey: NDArray[np.uint8], blur: float) -> NDArray[np.float32]:
    values = grey.astype(np.float32)
    return values - cv2.GaussianBlur(values, (0, 0), blur)


def _agreement(
    a: NDArray[np.float32], b: NDArray[np.float32], covered: NDArray[np.bool_]
) -> tuple[float, float]:
    """Share of windows with detail that show the same, and the median of their correlation."""
    # A darker copy has less contrast everywhere: both get that of the one that has more. By the mean of
    # the absolute values, for a watermark adds much contrast in one place.
    contrast_a, contrast_b = (max(float(np.abs(picture[covered]).mean()), 0.01) for picture in (a, b))
    a, b = a * max(1.0, contrast_b / contrast_a), b * max(1.0, contrast_a / contrast_b)
    inside = _mean(covered.astype(np.float32)) > 0.99
    mean_a, mean_b = _mean(a), _mean(b)
    variance_a, variance_b = _mean(a * a) - mean_a * mean_a, _mean(b * b) - mean_b * mean_b
    detailed_a, detailed_b = variance_a > _CONTRAST**2, variance_b > _CONTRAST**2
    both, either = inside & detailed_a & detailed_b, inside & (detailed_a | detailed_b)
    if not both.any():
        return 0.0, 0.0
    covariance = (_mean(a * b) - mean_a * mean_b)[both]
    correlations = covariance / np.sqrt(variance_a[both] * variance_b[both])
    same = np.count_nonzero(correlations >= _SAME)
    return float(same / np.count_nonzero(either)), float(np.median(correlations))


def _mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the window around each pixel."""
    return np.asarray(cv2.boxFilter(values, -1, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT))


def _correlation(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y) / max(float(np.sqrt((x @ x) * (y @ y))), 1e-6)

"""Charts: marks stand where their values say; every chart is well-formed and says what it shows."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from finetune.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Bar,
    Bin,
    Dot,
    Histogram,
    Level,
    ParallelLine,
    Point,
    Series,
    bar_chart,
    calibration_chart,
    chart,
    class_mark,
    histograms,
    lr_curve,
    parallel_chart,
    scatter,
    standalone,
)

STRANGE = 'a "b" & <c>'


def circles(svg):
    return [(float(x), float(y)) for x, y in re.findall(r'<circle[^>]* cx="([\d.]+)" cy="([\d.]+)"', svg)]


def labels(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter("text")]


EVERY = {
    "lines": lambda: chart(
        [Series([Point(1, 0.5, 0.4, 0.6, STRANGE, "ring"), Point(2, 0.7)], STRANGE)],
        Axis(STRANGE),
        Axis("accuracy", percent=True),
        STRANGE,
    ),
    "band": lambda: chart(
        [Series([Point(1, 3.0, 2.5, 3.5), Point(2, 2.0, 1.5, 2.5)], band=True)], Axis("x"), Axis("y"), "band"
    ),
    "scatter": lambda: chart(
        [Series([Point("a", 1.0, mark="diamond"), Point(STRANGE, 2.0, mark="hollow")], joined=False)],
        Axis("kind", categories=("a", STRANGE)),
        Axis("loss", log=True),
        "scatter",
    ),
    "nothing": lambda: chart([Series([])], Axis("x"), Axis("y"), "nothing"),
    "lr": lambda: lr_curve(
        [(1e-6, 2.3), (1e-3, 1.0), (1.0, math.inf)], 2.3, (1e-4, 1e-2), [Level(1e-3, STRANGE)]
    ),
    "bars": lambda: bar_chart([Bar(STRANGE, 0.9, 0.8, 0.95), Bar("b", -0.1)], Axis("gain"), STRANGE),
    "histograms": lambda: histograms([Histogram(STRANGE, [1, 2, 3], -1.0, 1.0, True)] * 7, STRANGE),
    "calibration": lambda: calibration_chart([Bin(0.8, 0.9, 12, 0.85, 0.75, 0.5, 0.9)], STRANGE),
    "no calibration": lambda: calibration_chart([], "nothing"),
    "map": lambda: scatter(
        [Dot(0.0, 1.0, 0, STRANGE), Dot(2.0, 3.0, 60, "b", True, True)],
        [(0.0, 1.0, 0, STRANGE)],
        (STRANGE, "y"),
        STRANGE,
    ),
    "no map": lambda: scatter([], [], ("x", "y"), "nothing"),
    "parallel": lambda: parallel_chart(
        [Axis("a", log=True), Axis("b", categories=("x", "y"))],
        [ParallelLine([0.1, "x"], 0.5, STRANGE), ParallelLine([10.0, "y"])],
        STRANGE,
    ),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_chart_is_well_formed_and_has_a_title(name):
    svg = EVERY[name]()
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert STRANGE not in svg
    assert "script" not in svg
    alone = ElementTree.fromstring(standalone(svg))
    assert alone.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme" in "".join(alone.itertext())


def test_points_stand_where_their_values_say():
    points = [Point(10.0**e, e / 10) for e in range(5)]
    svg = chart([Series(points)], Axis("x", log=True), Axis("y"), "title")
    places = circles(svg)
    steps = [b[0] - a[0] for a, b in pairwise(places)]
    assert max(steps) - min(steps) <= 0.2  # equal factors, equal distances
    assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in places)
    assert {"1", "10", "10²", "10³", "10⁴", "x", "y"} <= set(labels(svg))


def test_what_lies_beyond_an_axis_is_drawn_at_its_end():
    svg = chart([Series([Point(1, 0.5), Point(2, 99.0)])], Axis("x"), Axis("y", low=0.0, high=1.0), "title")
    assert circles(svg)[1][1] == TOP


def test_an_error_bar_spans_low_to_high():
    svg = chart([Series([Point(1, 2.0, 1.0, 3.0)])], Axis("x"), Axis("y"), "title")
    (bar,) = re.findall(r'class="error" x1="[\d.]+" y1="([\d.]+)" x2="[\d.]+" y2="([\d.]+)"', svg)
    low, high = map(float, bar)
    assert low > circles(svg)[0][1] > high
    assert low - circles(svg)[0][1] == pytest.approx(circles(svg)[0][1] - high, abs=0.2)


def test_percent_stays_between_0_and_100():
    svg = chart([Series([Point(1, 0.99, 0.9, 1.08)])], Axis("x"), Axis("accuracy", percent=True), "title")
    assert max(float(label[:-1]) for label in labels(svg) if label.endswith("%")) == 100


def test_bars_are_as_long_as_their_values():
    svg = bar_chart([Bar("a", 0.2), Bar("b", 0.4)], Axis("share"), "title")
    short, long = (float(width) for width in re.findall(r'<rect class="right"[^>]* width="([\d.]+)"', svg))
    assert long == pytest.approx(2 * short, rel=0.01)


def test_the_highest_bin_of_each_histogram_fills_it():
    svg = histograms([Histogram("a", [1, 4], 0, 1), Histogram("b", [0, 100], 0, 1, True)])
    bars = re.findall(r'<rect class="(\w+)"[^>]* height="([\d.]+)"', svg)
    assert bars == [("right", "12.0"), ("right", "48.0"), ("wrong", "0.0"), ("wrong", "48.0")]


def test_a_loss_that_is_not_finite_is_left_out():
    svg = lr_curve([(1e-3, 1.0), (1e-2, math.nan), (1e-1, math.inf)], 2.0, None, [])
    assert len(circles(svg)) == 1


def test_a_map_keeps_distances_and_sets_held_out_images_apart():
    dots = [Dot(0, 0, 0, "a"), Dot(10, 0, 0, "b"), Dot(0, 10, 0, "c", held_out=True)]
    svg = scatter(dots, [], ("x", "y"), "title")
    places = [tuple(map(float, p)) for p in re.findall(r' d="M([\d.]+) ([\d.]+)a', svg)]
    (ax, ay), (bx, by), (_, cy) = places
    assert by == ay
    assert bx - ax == pytest.approx(ay - cy, abs=1.5)  # one unit as long in both directions, upwards
    assert re.findall(r'class="(.+?)" d=', svg) == ["dot0", "dot0", "dot0 held"]


def test_classes_differ_in_colour_or_shape():
    marks = [re.sub(r"[\d.]+ [\d.]+", "", class_mark(i)) for i in range(48)]
    looks = {re.search(r'class="(dot\d) held" d="(.+?)"', class_mark(i)).groups() for i in range(48)}
    assert len(looks) == len(marks)


def test_names_of_classes_do_not_lie_on_each_other():
    means = [(0.0, 0.01 * i, i, f"class {i}") for i in range(5)] + [(1.0, 1.0, 5, "far")]
    svg = scatter([Dot(0, 0, 0, "a"), Dot(1, 1, 0, "b")], means, ("x", "y"), "title")
    heights = sorted(float(y) for y in re.findall(r'<text class="mean" x="[\d.]+" y="([\d.]+)"', svg))[1:]
    assert min(b - a for a, b in pairwise(heights)) >= 13


def test_a_calibration_curve_has_its_counts():
    bins = [Bin(i / 10, i / 10 + 0.1, 10 * i, i / 10 + 0.05, 0.5, 0.4, 0.6) for i in (5, 9)]
    svg = calibration_chart(bins, "title")
    assert {"50", "90"} <= set(labels(svg))
    tall = [float(h) for h in re.findall(r'<rect class="right"[^>]* height="([\d.]+)"', svg)]
    assert tall[1] == pytest.approx(90 / 50 * tall[0], abs=0.2)

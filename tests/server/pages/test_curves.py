"""Curves: whatever a job reports, and however much of it."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.jobs.progress import Progress, Series
from ftjobs.schema import Job
from ftjobs.server.pages.curves import STRIPS, Line, chart, charts, thinned

finite = st.floats(-1e12, 1e12)
series = st.dictionaries(st.integers(0, 10**9), finite).map(lambda d: tuple(sorted(d.items())))


def drawn(points: Series, valid: Series = (), last: int | None = None) -> ET.Element:
    lines = [Line("training", "train", points), Line("validation", "valid", valid)]
    return ET.fromstring(str(chart("Loss", "nats", lines, last=last)))


def places(figure: ET.Element, style: str = "train") -> list[tuple[float, float]]:
    (line,) = (each for each in figure.iter("polyline") if style in each.get("class", "").split())
    pairs = (pair.split(",") for pair in (line.get("points") or "").split())
    return [(float(x), float(y)) for x, y in pairs]


@given(series, st.integers(1, 50))
def test_what_is_thinned_keeps_ends_and_extremes(points: Series, strips: int) -> None:
    few = thinned(points, strips)
    assert len(few) <= 2 * strips + 2
    assert list(few) == sorted(set(few))
    assert set(few) <= set(points)
    if points:
        assert (few[0], few[-1]) == (points[0], points[-1])
        values = [value for _, value in points]
        assert {min(values), max(values)} <= {value for _, value in few}


def test_one_spike_among_100000_steps_is_seen() -> None:
    points = tuple((step, 9.0 if step == 54_321 else 1.0) for step in range(100_000))
    assert (54_321, 9.0) in thinned(points)
    figure = drawn(points)
    assert len(places(figure)) <= 2 * STRIPS + 2
    assert len(ET.tostring(figure)) < 50_000


@given(series.filter(bool), series, st.none() | st.integers(1, 10**9))
def test_every_point_is_within_the_drawing(points: Series, valid: Series, last: int | None) -> None:
    figure = drawn(points, valid, last)
    for style in ("train", "valid") if valid else ("train",):
        found = places(figure, style)
        assert found
        assert all(0 <= x <= 1000 and 0 <= y <= 1000 for x, y in found)


def test_lower_values_are_lower_and_later_steps_to_the_right() -> None:
    (x1, y1), (x2, y2) = places(drawn(((1, 2.0), (5, 1.0)), last=10))
    assert x1 < x2 < 1000
    assert y1 < y2


@pytest.mark.parametrize(
    ("step", "total", "last"),
    [(1, 60, 60), (1, 20_000, 79), (157, 20_000, 625), (5_001, 20_000, 20_000), (9, None, 9)],
)
def test_how_a_long_job_begins_is_seen(step: int, total: int | None, last: int) -> None:
    job = Job(id="j", created_at=0, status="running", model="m", training_file="f")
    points = ((1, 2.0), (step, 1.0))[: min(step, 2)]
    seen = Progress(job, step=step, total=total, train=points)
    assert f'data-last="{last}"' in charts(seen)


@pytest.mark.parametrize(("value", "lowest"), [(0.0, "0"), (0.5, "0.46"), (-2.0, "−2.2")])
def test_one_value_has_an_axis_that_keeps_its_sign(value: float, lowest: str) -> None:
    figure = drawn(((1, value),))
    marks = [each.text for each in figure.iter("text") if each.get("class") == "up"]
    assert marks[0] == lowest


def test_many_points_do_not_cover_the_other_curve() -> None:
    for count, style in ((300, "train"), (301, "train dense")):
        figure = drawn(tuple((step, 1.0) for step in range(count)), ((9, 1.0),))
        assert [each.get("class") for each in figure.iter("polyline")] == [style, "valid"]


def test_one_point_is_a_dot() -> None:
    figure = drawn(((1, 2.5),))
    (dot,) = figure.iter("circle")
    assert dot.get("cx") == "0.00%"
    assert "step 1" in "".join(figure.itertext())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_what_cannot_be_drawn_is_counted(value: float) -> None:
    figure = drawn(((1, 2.0), (2, value), (3, 1.0)))
    assert len(places(figure)) == 2
    assert "1 value not drawn" in "".join(figure.itertext())


def test_a_figure_tells_what_it_shows() -> None:
    figure = drawn(((1, 2.0), (40, 0.5)), ((40, 0.75),))
    label = next(figure.iter("svg")).get("aria-label")
    expected = "training 2.0000 at step 1, 0.5000 at step 40; validation 0.7500 at step 40"
    assert label == f"Loss: {expected}"


def test_marks_are_round_and_carry_their_unit() -> None:
    figure = drawn(tuple((step, 2 - step / 100) for step in range(1, 101)))
    marks = [each.text for each in figure.iter("text") if each.get("class") == "across"]
    assert marks == ["20", "40", "60", "80", "100"]
    assert "nats" in "".join(figure.itertext())
    assert re.search(r"\bstep\b", "".join(figure.itertext()))


def test_a_job_without_metrics_has_room_for_them_until_it_ends() -> None:
    job = Job(id="j", created_at=0, status="running", model="m", training_file="f")
    assert "No values yet" in charts(Progress(job))
    assert charts(Progress(job.model_copy(update={"status": "failed"}))) == ""

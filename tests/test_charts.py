"""Charts: values become points, and nothing that anybody typed or measured breaks a picture."""

import math
import re

import pytest
from lxml import etree

from mailer.web import charts
from mailer.web.charts import Series


def points(svg: str) -> list[tuple[float, float]]:
    found = re.search(r'points="([^"]*)"', svg)
    assert found
    pairs = (pair.split(",") for pair in found[1].split())
    return [(float(x), float(y)) for x, y in pairs]


def line(*values: float | None, **options: object) -> str:
    series = [Series(name="a", values=values)]
    return str(charts.line(series, label="A line", steps=[], language="en", **options))  # type: ignore[arg-type]


def test_values_become_points_between_the_ends_of_the_field() -> None:
    # The axis goes to 10 in steps of 5.
    assert points(line(0, 10, 5)) == [(48, 132), (222, 10), (396, 71)]


def test_a_picture_is_the_same_every_time() -> None:
    assert line(0, 3) == (
        '<svg class="chart" viewBox="0 0 400 160" role="img" aria-label="A line">'
        '<line x1="48" x2="396" y1="132.0" y2="132.0" stroke="var(--line-strong)"/>'
        '<text x="40" y="136.0" text-anchor="end" font-size="12" fill="var(--muted)">0</text>'
        '<line x1="48" x2="396" y1="91.3" y2="91.3" stroke="var(--line)"/>'
        '<text x="40" y="95.3" text-anchor="end" font-size="12" fill="var(--muted)">1</text>'
        '<line x1="48" x2="396" y1="50.7" y2="50.7" stroke="var(--line)"/>'
        '<text x="40" y="54.7" text-anchor="end" font-size="12" fill="var(--muted)">2</text>'
        '<line x1="48" x2="396" y1="10.0" y2="10.0" stroke="var(--line)"/>'
        '<text x="40" y="14.0" text-anchor="end" font-size="12" fill="var(--muted)">3</text>'
        '<polyline fill="none" stroke="var(--accent)" stroke-width="2" stroke-linejoin="round" points="48.0,132.0 396.0,10.0"/>'
        "</svg>"
    )


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ([], (0, 1)),
        ([0], (0, 1)),
        ([7], (0, 5, 10)),
        ([18_117], (0, 10_000, 20_000)),
        ([0.2], (0, 0.1, 0.2)),
        ([1, 1], (0, 1)),
        ([1e12], (0, 5e11, 1e12)),
    ],
)
def test_the_axis_has_round_numbers_that_hold_all_values(values: list[float], marks: tuple[float, ...]) -> None:
    assert charts.scale_for(values).marks == pytest.approx(marks)


def test_an_axis_that_need_not_begin_at_zero_lies_close_around_the_values() -> None:
    scale = charts.scale_for([18_000, 18_300], from_zero=False)
    assert (scale.low, scale.high) == (18_000, 18_300)
    assert charts.scale_for([5, 5], from_zero=False).low == 0


def test_one_value_is_a_dot_and_a_gap_is_not_bridged() -> None:
    assert "<circle" in line(5)
    broken = line(1, 2, None, 3, 4)
    assert broken.count("<polyline") == 2


@pytest.mark.parametrize("strange", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_is_left_out(strange: float | None) -> None:
    drawn = [
        line(1, strange, 2),
        str(charts.bars([Series(name="a", values=[1, strange])], label="", steps=[], language="en", usual=strange)),
        str(charts.rows(["a", "b"], [Series(name="a", values=[1, strange])], label="", language="en")),
        str(charts.share([1, strange or 0], label="")),
    ]
    for svg in drawn:
        assert not re.search(r"nan|inf|None", svg), svg


def test_nothing_at_all_is_an_empty_picture() -> None:
    drawn = [
        line(),
        str(charts.bars([], label="", steps=[], language="en")),
        str(charts.rows([], [], label="", language="en")),
        str(charts.share([], label="")),
        str(charts.share([0, 0], label="")),
    ]
    for svg in drawn:
        etree.fromstring(svg)


def test_bars_of_one_step_stand_side_by_side_and_the_usual_is_a_line_across() -> None:
    series = [Series(name="in", values=[4, 2]), Series(name="out", values=[1, 2], color=1)]
    svg = str(charts.bars(series, label="", steps=[], language="en", usual=3))
    rects = [tuple(map(float, one)) for one in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', svg)]
    assert len(rects) == 4
    (in_x, _, width), (out_x, _, _) = rects[0], rects[2]
    assert in_x + width < out_x
    assert svg.count("stroke-dasharray") == 1


def test_a_stacked_bar_is_as_wide_as_the_picture_and_divided_by_share() -> None:
    svg = str(charts.share([30, 10], label="3 to 1"))
    assert re.findall(r'<rect x="([\d.]+)" y="0" width="([\d.]+)"', svg) == [("0.0", "298.5"), ("300.0", "98.5")]


def test_rows_are_sums_of_their_parts_in_the_languages_numbers() -> None:
    series = [Series(name="refused", values=[1200, 1]), Series(name="deferred", values=[34.0, 0])]
    svg = str(charts.rows(["orange.fr", "x" * 40], series, label="", language="fr"))
    assert ">1\u00a0234<" in svg
    assert f">{'x' * 19}…<" in svg


def test_numbers_of_the_axis_are_those_of_the_language() -> None:
    assert ">1,000<" in line(900)
    series = [Series(name="a", values=[900, 1.25e6])]
    assert ">0,5\u00a0M<" in str(charts.line(series, label="", steps=[], language="fr"))


def test_words_are_escaped() -> None:
    hostile = '"><script>alert(1)</script>'
    drawn = [
        charts.line([], label=hostile, steps=[(0, hostile)], language="en"),
        charts.rows([hostile], [Series(name="a", values=[1])], label=hostile, language="en"),
        charts.key([Series(name=hostile, values=[])], has_usual=hostile),
    ]
    for svg in drawn:
        assert "<script" not in svg
        etree.fromstring(str(svg))


def test_colours_are_attributes_since_no_style_may_stand_in_a_page() -> None:
    series = [Series(name=str(number), values=[1, 2], color=number) for number in range(5)]
    drawn = str(charts.line(series, label="", steps=[], language="en")) + str(charts.key(series))
    assert "style" not in drawn
    assert len(set(re.findall(r'stroke-dasharray="([^"]*)"', drawn))) == 3

"""Charts as inline SVG, made of plain values by pure functions: no script, no style; colours that follow day and night.

Each has a sentence for those who don't see it; the numbers stand in a table beside it (templates/admin/_charts.html).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from mailer import i18n

WIDTH: Final = 400
HEIGHT: Final = 160
# Of the field that is drawn in; the axis' numbers stand left of it, the dates below.
LEFT: Final = 48
RIGHT: Final = 396
TOP: Final = 10
BOTTOM: Final = 132
# Variables of admin.css; told apart by more than their hue: see _DASHES, and the legend.
COLORS: Final = ("var(--accent)", "var(--c2)", "var(--c-uncertain)", "var(--c-deferred)")
_DASHES: Final = ("", "6 4", "2 3", "10 3")
_TEXT: Final = 'font-size="12" fill="var(--muted)"'
ROW_HEIGHT: Final = 26
SHARE_HEIGHT: Final = 28


@dataclass(frozen=True, kw_only=True)
class Series:
    """A name and its values, one a step; None where there is none. `color` is a place in COLORS."""

    name: str
    values: Sequence[float | None]
    color: int = 0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The vertical axis: from `low` to `high`, with a line at each of `marks`."""

    low: float
    high: float
    marks: tuple[float, ...]

    def y(self, value: float) -> float:
        """Return how far down a value stands."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(BOTTOM - share * (BOTTOM - TOP), 1)


def line(
    series: Sequence[Series], *, label: str, steps: Sequence[tuple[int, str]], language: str, from_zero: bool = True
) -> Markup:
    """Draw lines over time. `steps` are the words under the axis and the number of the value that each belongs to."""
    values = [one for each in series for one in _finite(each.values) if one is not None]
    scale = scale_for(values, from_zero=from_zero)
    length = max([0, *(len(one.values) for one in series)])
    parts = [_grid(scale, language), *_steps(steps, length)]
    for one in series:
        parts += [_path(run, scale, length, one.color) for run in _runs(_finite(one.values))]
    return _svg(parts, label=label, height=HEIGHT)


def bars(
    series: Sequence[Series], *, label: str, steps: Sequence[tuple[int, str]], language: str, usual: float | None = None
) -> Markup:
    """Draw a bar for each value, those of one step side by side; `usual` is a dashed line across."""
    values = [one for each in series for one in _finite(each.values) if one is not None]
    known = None if usual is None or not math.isfinite(usual) else usual
    scale = scale_for([*values, *([] if known is None else [known])])
    length = max([1, *(len(one.values) for one in series)])
    slot = (RIGHT - LEFT) / length
    width = round(max(1.0, min(32.0, slot * 0.72) / max(1, len(series))), 1)
    parts = [_grid(scale, language), *_steps(steps, length, is_middle=True)]
    for place, one in enumerate(series):
        for at, value in enumerate(_finite(one.values)):
            if value is None:
                continue
            x = LEFT + (at + 0.5) * slot + (place - len(series) / 2) * width
            top = scale.y(value)
            parts.append(_rect(x, top, max(0.5, width - 1), BOTTOM - top, _color(one.color)))
    if known is not None:
        y = scale.y(known)
        parts.append(
            f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y}" y2="{y}" stroke="var(--text)" stroke-width="1.5"'
            ' stroke-dasharray="5 4"/>'
        )
    return _svg(parts, label=label, height=HEIGHT)


def rows(names: Sequence[str], series: Sequence[Series], *, label: str, language: str) -> Markup:
    """Draw a horizontal bar for each name, made of the series' values one after the other, with their sum."""
    values = [[_finite(one.values)[at] or 0.0 for one in series] for at in range(len(names))]
    most = max([1.0, *(sum(one) for one in values)])
    parts = []
    for at, name in enumerate(names):
        y = at * ROW_HEIGHT
        shown = name if len(name) <= 20 else f"{name[:19]}…"
        parts.append(f'<text x="0" y="{y + 17}" {_TEXT}>{escape(shown)}</text>')
        x = 140.0
        for one, value in zip(series, values[at], strict=True):
            width = 200 * value / most
            if value:
                parts.append(_rect(x, y + 5, max(1.5, width), 15, _color(one.color)))
            x += width
        number = escape(i18n.format_number(language, round(sum(values[at]))))
        parts.append(f'<text x="{round(x + 6, 1)}" y="{y + 17}" {_TEXT}>{number}</text>')
    return _svg(parts, label=label, height=max(1, len(names)) * ROW_HEIGHT)


def share(counts: Sequence[float], *, label: str) -> Markup:
    """Draw one bar, divided by how many each of the parts has; parts keep their order and take the colours in turn."""
    known = [max(0.0, one or 0.0) for one in _finite(counts)]
    whole = sum(known)
    parts, x = [], 0.0
    for at, count in enumerate(known):
        width = WIDTH * count / whole if whole else 0.0
        if count:
            strength = 1 if at < len(COLORS) else 0.55
            rect = _rect(x, 0, max(0.5, width - 1.5), SHARE_HEIGHT, _color(at))
            parts.append(rect if strength == 1 else rect.replace("/>", f' opacity="{strength}"/>'))
        x += width
    if not whole:
        parts.append(_rect(0, 0, WIDTH, SHARE_HEIGHT, "var(--neu-bg)"))
    return _svg(parts, label=label, height=SHARE_HEIGHT)


def key(series: Sequence[Series], *, has_usual: str = "", is_filled: bool = False) -> Markup:
    """Write what the colours mean: a small picture of each line, or bar if `is_filled`, and its name.

    `has_usual` names the dashed line of bars.
    """
    pictures = [
        (_rect(0, 0, 10, 10, _color(one.color)) if is_filled else _stroke(one.color), one.name) for one in series
    ]
    if has_usual:
        dashes = '<line x1="0" x2="20" y1="5" y2="5" stroke="var(--text)" stroke-width="1.5" stroke-dasharray="5 4"/>'
        pictures.append((dashes, has_usual))
    entries = [
        f'<li><svg width="{10 if drawn.startswith("<rect") else 20}" height="10" aria-hidden="true">{drawn}</svg>'
        f" {escape(name)}</li>"
        for drawn, name in pictures
    ]
    return Markup(f'<ul class="key">{"".join(entries)}</ul>')  # noqa: S704 - of numbers and escaped names


def scale_for(values: Sequence[float], *, from_zero: bool = True) -> Scale:
    """Choose an axis with round numbers that holds all the values: from zero, or close around them."""
    high = max([*values, 0.0])
    low = 0.0 if from_zero or not values else max(0.0, min(values))
    if high <= 0:
        return Scale(low=0.0, high=1.0, marks=(0.0, 1.0))
    if high <= low:
        low = 0.0
    step = _round_step((high - low) / 3, is_whole=all(float(one).is_integer() for one in values))
    bottom = math.floor(low / step) * step
    count = max(1, math.ceil((high - bottom) / step - 1e-9))
    marks = tuple(round(bottom + number * step, 10) for number in range(count + 1))
    return Scale(low=marks[0], high=marks[-1], marks=marks)


def _round_step(rough: float, *, is_whole: bool) -> float:
    """Return 1, 2, 2.5 or 5 times a power of ten, at least as big; of what is counted, only whole numbers."""
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [one * power for one in (1, 2, 2.5, 5, 10) if one * power >= rough * (1 - 1e-9)]
    return next((one for one in steps if not is_whole or one.is_integer()), 1.0)


def _finite(values: Sequence[float | None]) -> list[float | None]:
    return [None if one is None or not math.isfinite(one) else float(one) for one in values]


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Split values where some are missing: a gap is not bridged."""
    runs: list[list[tuple[int, float]]] = [[]]
    for at, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((at, value))
    return [one for one in runs if one]


def _x(at: int, length: int) -> float:
    return round(LEFT + (RIGHT - LEFT) * (at / (length - 1) if length > 1 else 0.5), 1)


def _path(run: Sequence[tuple[int, float]], scale: Scale, length: int, color: int) -> str:
    stroke = _color(color)
    if len(run) == 1:
        at, value = run[0]
        return f'<circle cx="{_x(at, length)}" cy="{scale.y(value)}" r="3.5" fill="{stroke}"/>'
    points = " ".join(f"{_x(at, length)},{scale.y(value)}" for at, value in run)
    dash = _DASHES[color % len(_DASHES)]
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<polyline fill="none" stroke="{stroke}" stroke-width="2" stroke-linejoin="round"{dashes} points="{points}"/>'
    )


def _stroke(color: int) -> str:
    dash = _DASHES[color % len(_DASHES)]
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="0" x2="20" y1="5" y2="5" stroke="{_color(color)}" stroke-width="3"{dashes}/>'


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _rect(x: float, y: float, width: float, height: float, color: str) -> str:
    numbers = (round(one, 1) for one in (x, y, width, height))
    return '<rect x="{}" y="{}" width="{}" height="{}" fill="{}"/>'.format(*numbers, color)


def _grid(scale: Scale, language: str) -> str:
    drawn = []
    for mark in scale.marks:
        y = scale.y(mark)
        color = "var(--line-strong)" if mark == scale.marks[0] else "var(--line)"
        drawn.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y}" y2="{y}" stroke="{color}"/>')
        number = escape(_short(mark, language))
        drawn.append(f'<text x="{LEFT - 8}" y="{round(y + 4, 1)}" text-anchor="end" {_TEXT}>{number}</text>')
    return "".join(drawn)


def _short(value: float, language: str) -> str:
    """Write a number of the axis: from a hundred thousand on in millions, since there is little room."""
    if abs(value) >= 100_000:
        return f"{i18n.format_number(language, round(value / 1e6, 3))}\u00a0M"
    return i18n.format_number(language, value)


def _steps(steps: Sequence[tuple[int, str]], length: int, *, is_middle: bool = False) -> list[str]:
    drawn = []
    for at, words in steps:
        x = LEFT + (at + 0.5) * (RIGHT - LEFT) / length if is_middle else _x(at, length)
        anchor = "middle"
        if len(steps) > 1 and x < LEFT + 24:
            anchor, x = "start", max(x - 16, LEFT)
        elif len(steps) > 1 and x > RIGHT - 24:
            anchor, x = "end", RIGHT
        drawn.append(f'<text x="{round(x, 1)}" y="{BOTTOM + 18}" text-anchor="{anchor}" {_TEXT}>{escape(words)}</text>')
    return drawn


def _svg(parts: Sequence[str], *, label: str, height: int) -> Markup:
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704 - of numbers and escaped words

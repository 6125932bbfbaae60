"""Draw how costs grow, as an SVG. Both axes are logarithmic: what does not grow is flat, and a slope is a power."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor, log10

from benchmarks.figures import Figure

WIDTH, HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 230, 20, 50
#: Told apart also without colours, by their order in the margin (colours of Okabe and Ito).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_LABEL_PIXELS = 18


def picture(figures: Sequence[Figure]) -> str:
    """Give the picture of the figures that were measured at several sizes."""
    lines = [(figure.name.partition(", ")[2], figure.points) for figure in figures if figure.points]
    plane = _Plane([point for _, points in lines for point in points])
    body = [*plane.grid(), *_curves(plane, lines)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            *body,
            "</svg>",
            "",
        ]
    )


class _Plane:
    """Where a point stands: whole powers of ten at the edges."""

    def __init__(self, points: Sequence[tuple[int, float]]) -> None:
        sizes, costs = [log10(size) for size, _ in points], [log10(cost) for _, cost in points]
        self._size = (floor(min(sizes)), max(ceil(max(sizes)), floor(min(sizes)) + 1))
        self._cost = (floor(min(costs)), max(ceil(max(costs)), floor(min(costs)) + 1))

    def x(self, power: float) -> float:
        """Place a power of ten of facts stored."""
        first, last = self._size
        return round(_LEFT + (power - first) / (last - first) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, power: float) -> float:
        """Place a power of ten of microseconds."""
        first, last = self._cost
        return round(HEIGHT - _BOTTOM - (power - first) / (last - first) * (HEIGHT - _TOP - _BOTTOM), 1)

    def grid(self) -> Iterable[str]:
        """Draw a line and a label for each power of ten."""
        left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
        for power in range(self._size[0], self._size[1] + 1):
            x = self.x(power)
            yield f'<line x1="{x}" y1="{top}" x2="{x}" y2="{bottom}" stroke="#ddd"/>'
            yield f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{10**power:,}</text>'
        for power in range(self._cost[0], self._cost[1] + 1):
            y = self.y(power)
            yield f'<line x1="{left}" y1="{y}" x2="{right}" y2="{y}" stroke="#ddd"/>'
            yield f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{10**power:,} us</text>'
        yield f'<text x="{(left + right) / 2}" y="{bottom + 36}" text-anchor="middle">facts stored</text>'


def _curves(plane: _Plane, lines: Sequence[tuple[str, Sequence[tuple[int, float]]]]) -> Iterable[str]:
    for number, (name, points) in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(plane.x(log10(size)), plane.y(log10(cost))) for size, cost in points]
        path = " ".join(f"{x},{y}" for x, y in places)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places)
        x, y = WIDTH - _RIGHT + 16, _TOP + 10 + number * _LABEL_PIXELS
        yield f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 16}" y="{y}">{name}</text>'

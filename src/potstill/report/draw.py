"""Drawing by hand: scales, ticks, labels that give way to each other, and a canvas that becomes an inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .markup import Child, Html, el

CHARACTER = 6.4  # mean width of a character at 12 px in system fonts, assumed; labels are placed by it
LINE = 15.0


@dataclass(frozen=True)
class Scale:
    """From data (``low`` to ``high``) to pixels (``start`` to ``end``); ``log`` by powers of ten."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, at: float) -> float:
        low, high, here = (math.log(max(v, 1e-12)) if self.log else v for v in (self.low, self.high, at))
        return self.start + (self.end - self.start) * (here - low) / (high - low)

    def inside(self, at: float) -> float:
        """Return the pixel of ``at``, or of the end that it lies beyond."""
        return self(min(max(at, self.low), self.high))

    def ticks(self, most: int = 6) -> list[float]:
        """Return round numbers within the scale."""
        return self._powers(most) if self.log else self._steps(most)

    def _steps(self, most: int) -> list[float]:
        raw = (self.high - self.low) / max(1, most)
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [round(k * step, 12) for k in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _powers(self, most: int) -> list[float]:
        for factors in ((1, 2, 5), (1, 3), (1,)):
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [round(f * 10.0**p, 12) for p in powers for f in factors if self.low * 0.999 <= f * 10.0**p <= self.high * 1.001]
            if len(found) <= most:
                return found
        return found[:: math.ceil(len(found) / most)]


def padded(values: Sequence[float], share: float = 0.08, least: float = 1e-9) -> tuple[float, float]:
    """Return bounds around ``values`` with some air."""
    low, high = min(values), max(values)
    air = max((high - low) * share, least)
    return low - air, high + air


def tick_label(at: float, ticks: Sequence[float]) -> str:
    """Return a tick's number with the digits that its neighbors call for."""
    step = min((abs(b - a) for a, b in pairwise(ticks)), default=abs(at) or 1.0)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    digits = next((d for d in range(digits, digits + 3) if all(abs(round(t, d) - t) < 1e-9 * max(1, abs(t)) for t in ticks)), digits)
    return f"{at:,.{digits}f}".replace("-", "−")


@dataclass
class Canvas:
    """An SVG in the making; coordinates are pixels at the size that it is shown at."""

    width: float
    height: float
    parts: list[Html] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)  # what labels must not cover: left, top, right, bottom

    def line(self, x1: float, y1: float, x2: float, y2: float, look: str) -> None:
        self.parts.append(el(f"line.{look}", attrs={"x1": _p(x1), "y1": _p(y1), "x2": _p(x2), "y2": _p(y2)}))

    def rect(self, x: float, y: float, width: float, height: float, look: str) -> None:
        self.parts.append(el(f"rect.{look}", attrs={"x": _p(x), "y": _p(y), "width": _p(max(0, width)), "height": _p(max(0, height))}))

    def circle(self, x: float, y: float, radius: float, look: str) -> None:
        self.parts.append(el(f"circle.{look}", attrs={"cx": _p(x), "cy": _p(y), "r": _p(radius)}))

    def path(self, points: Sequence[tuple[float, float]], look: str) -> None:
        self.parts.append(el(f"path.{look}", attrs={"d": "M" + "L".join(f"{_p(x)} {_p(y)}" for x, y in points)}))

    def text(self, x: float, y: float, words: Child, look: str = "", anchor: str = "start") -> None:
        name = ".".join(part for part in ("text", look) if part)
        self.parts.append(el(name, words, attrs={"x": _p(x), "y": _p(y), "text-anchor": None if anchor == "start" else anchor}))

    def keep_clear(self, left: float, top: float, right: float, bottom: float) -> None:
        self.boxes.append((left, top, right, bottom))

    def keep_line_clear(self, points: Sequence[tuple[float, float]]) -> None:
        """Keep labels off a drawn line."""
        for (x1, y1), (x2, y2) in pairwise(points):
            pieces = max(1, math.ceil(math.hypot(x2 - x1, y2 - y1) / 8))
            for k in range(pieces + 1):
                x, y = x1 + (x2 - x1) * k / pieces, y1 + (y2 - y1) * k / pieces
                self.keep_clear(x - 3, y - 3, x + 3, y + 3)

    def label(self, spots: Sequence[tuple[float, float]], gap: float, words: str, look: str) -> None:
        """Write ``words`` beside one of ``spots``, on the side where they cover least of what stands there; earlier spots are liked better."""
        wide = CHARACTER * len(words)
        found = []
        for spot, (x, y) in enumerate(spots):
            for side, (at, base, anchor) in enumerate(_sides(x, y, gap)):
                left = at - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
                box = (left, base - 11, left + wide, base + 3)
                outside = max(0.0, -left) + max(0.0, box[2] - self.width) + max(0.0, -box[1]) + max(0.0, box[3] - self.height)
                found.append((sum(_overlap(box, other) for other in self.boxes) + 1000 * outside, spot, side, box, (at, base), anchor))
        _, _, _, box, place, anchor = min(found)
        self.keep_clear(*box)
        self.text(*place, words, look, anchor)

    def svg(self, key: str, title: str, desc: str, look: str = "plot") -> Html:
        """Return the picture; ``desc`` says in words what it shows."""
        head = [el("title", title, attrs={"id": f"{key}-t"}), el("desc", desc, attrs={"id": f"{key}-d"})]
        return el(f"svg.{look}", head, self.parts, attrs={**self._shape(), "role": "img", "aria-labelledby": f"{key}-t {key}-d"})

    def ornament(self, look: str) -> Html:
        """Return the picture for eyes alone: the words beside it say the same."""
        return el(f"svg.{look}", self.parts, attrs={**self._shape(), "aria-hidden": "true"})

    def _shape(self) -> dict[str, object]:
        return {"viewBox": f"0 0 {_p(self.width)} {_p(self.height)}", "width": _p(self.width), "height": _p(self.height)}


def _sides(x: float, y: float, gap: float) -> tuple[tuple[float, float, str], ...]:
    """Return where words may stand beside a point, the best first: x, baseline, anchor."""
    above, below = y - gap - 4, y + gap + 12
    return (
        (x + gap, y + 4, "start"), (x - gap, y + 4, "end"), (x, above, "middle"), (x, below, "middle"),
        (x + gap, above, "start"), (x + gap, below, "start"), (x - gap, above, "end"), (x - gap, below, "end"),
    )  # fmt: skip


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _p(pixels: float) -> str:
    return f"{pixels:.1f}".removesuffix(".0")

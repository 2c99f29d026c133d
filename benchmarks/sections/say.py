"""What a cell of a table says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def percent(found: Mapping[str, float] | None) -> str:
    return "-" if found is None else f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"


def points(found: Mapping[str, float] | None) -> str:
    return "-" if found is None else f"{100 * found['value']:+.1f} [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


def times(found: Mapping[str, Any]) -> str:
    digits = 3 if found["value"] < 1.2 else 2
    return f"{found['value']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"


def target(value: float, reached: bool, sign: str = ">=") -> str:
    return f"{sign} {value:g}: {'reached' if reached else '**missed**'}"


def met(value: float, target: float) -> str:
    return "yes" if value >= target else "**no**"


def ratios(ours: list[float], theirs: list[float]) -> str:
    """Return the median of the ratios round by round, and their range."""
    found = sorted(a / b for a, b in zip(ours, theirs) if b)
    return f"{found[len(found) // 2]:.2f} [{found[0]:.2f}, {found[-1]:.2f}]" if found else "-"

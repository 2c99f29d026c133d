"""The few special functions that intervals need, without scipy: what is shipped and served must stay small."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

_EPS = 1e-15


def normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


@lru_cache(maxsize=1024)
def normal_ppf(p: float) -> float:
    """Return the normal quantile of ``p``; infinite at 0 and 1."""
    if p <= 0 or p >= 1:
        return -math.inf if p <= 0 else math.inf
    return bisect(normal_cdf, p, -40.0, 40.0)


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function by its continued fraction (Press et al., Numerical Recipes, 6.4)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    h = d
    for m in range(1, 10_000):
        for numerator in (m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))):
            d = 1 + numerator * d
            c = 1 + numerator / c
            d = 1 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            h *= d * c
        if abs(d * c - 1) < _EPS:
            break
    return h


def beta_ppf(p: float, a: float, b: float) -> float:
    return bisect(lambda x: beta_cdf(x, a, b), p, 0.0, 1.0)


def t_cdf(x: float, df: float) -> float:
    square = x * x
    if square < df:  # near the middle the tail's own formula would lose x to rounding
        half = 0.5 * beta_cdf(square / (df + square), 0.5, df / 2)
        return 0.5 + half if x > 0 else 0.5 - half
    tail = 0.5 * beta_cdf(df / (df + square), df / 2, 0.5)
    return 1 - tail if x > 0 else tail


@lru_cache(maxsize=1024)
def t_ppf(p: float, df: float) -> float:
    """Return the quantile of Student's t with ``df`` degrees of freedom."""
    bound = 1.0
    while t_cdf(bound, df) < max(p, 1 - p):
        bound *= 2
    return bisect(lambda x: t_cdf(x, df), p, -bound, bound)


def bisect(rising: Callable[[float], float], target: float, low: float, high: float, steps: int = 200) -> float:
    """Return where the rising function reaches ``target`` between ``low`` and ``high``, after at most so many halvings."""
    for _ in range(steps):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if rising(middle) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2

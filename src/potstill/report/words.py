"""Numbers and names as people read them: the units, the digits, the signs, and a dash where there is nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DASH, MINUS, THIN = "–", "−", "\N{NARROW NO-BREAK SPACE}"
METRICS = {
    "accuracy": "accuracy", "macro_f1": "macro-F1", "mcc": "MCC", "log_loss": "log-loss", "agreement": "agreement", "micro_f1": "micro-F1",
    "subset_accuracy": "subset accuracy", "hamming_loss": "Hamming loss", "bits_per_byte": "bits per byte", "token_accuracy": "token accuracy",
    "exact_match": "exact match", "choice": "right choices", "rouge_l": "ROUGE-L", "callable": "the function’s grade",
}  # fmt: skip
SHARES = {  # shown in percent, their differences in points
    "accuracy", "macro_f1", "micro_f1", "subset_accuracy", "hamming_loss", "agreement", "disagreement", "token_accuracy",
    "exact_match", "choice", "rouge_l", "callable",
}  # fmt: skip
LOWER_IS_BETTER = {"log_loss", "hamming_loss", "perplexity", "bits_per_byte"}
FLOORS = {"text-generation": "a bigram model, which counts what follows what"}  # by task; TF-IDF with a linear model for all others


def floor(task: str) -> str:
    return FLOORS.get(task, "TF-IDF with a linear model")


def metric_name(metric: str) -> str:
    return METRICS.get(metric, metric.replace("_", " "))


def value(found: Any) -> float | None:
    """Return the number of a figure, which is a number, {value, low, high, n} or None."""
    if isinstance(found, Mapping):
        found = found.get("value", found.get("agreement"))
    return None if found is None or isinstance(found, bool) or not math.isfinite(found) else float(found)


def bounds(found: Any) -> tuple[float, float] | None:
    """Return the bounds of a figure, None where it has none."""
    if not isinstance(found, Mapping) or found.get("low") is None or found.get("high") is None:
        return None
    return float(found["low"]), float(found["high"])


def number(found: float | None, digits: int = 0, unit: str = "", *, signed: bool = False) -> str:
    """Return "1,234.5 ms", with a true minus sign; a dash for None, "∞" beyond all numbers."""
    if found is None:
        return DASH
    if math.isinf(found):
        return ("" if found > 0 else MINUS) + "∞"
    shown = f"{abs(found):,.{digits}f}"
    zero = not shown.strip("0.,")
    sign = MINUS if found < 0 and not zero else "+" if signed and not zero else ""
    return f"{sign}{shown}{THIN + unit if unit else ''}"


def significant(found: float | None, digits: int = 3, unit: str = "") -> str:
    """Return a positive quantity with at least ``digits`` digits that mean something: 0.0123, 1.23, 12.3, 1,234."""
    if found is None or not math.isfinite(found) or found == 0:
        return number(found, 0, unit)
    return number(found, max(0, digits - 1 - math.floor(math.log10(abs(found)))), unit)


def quality(metric: str, found: float | None) -> str:
    """Return a quality: a share in percent, any other with three decimals."""
    if found is None:
        return DASH
    return number(100 * found, 1, "%") if metric in SHARES else number(found, 3)


def difference(metric: str, found: float | None, *, signed: bool = False, unit: bool = True) -> str:
    """Return a difference of qualities: of shares in points, a hundredth each; of any other with four decimals."""
    if found is None:
        return DASH
    if metric not in SHARES:
        return number(found, 4, signed=signed)
    return number(100 * found, 2, "points" if unit else "", signed=signed)


def gain(metric: str, found: Any) -> str:
    """Return a signed difference of a metric with its interval."""
    low, high = (difference(metric, end, signed=True, unit=False) for end in bounds(found) or (None, None))
    return f"{difference(metric, value(found), signed=True)} ({spread(low, high)})"


def spread(low: str, high: str) -> str:
    return f"{low} to {high}"


def size(found: float | None) -> str:
    """Return bytes in units of 10³, 10⁶, 10⁹."""
    if found is None:
        return DASH
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(found) >= factor:
            return significant(found / factor, 3, unit)
    return number(found, 0, "bytes")


def count(found: float | None) -> str:
    """Return a count: exact under a million, else 22.7 million."""
    if found is None:
        return DASH
    if abs(found) < 1e6:
        return number(found)
    return significant(found / 1e9, 3, "billion") if abs(found) >= 1e9 else significant(found / 1e6, 3, "million")


def times(found: float | None, digits: int = 2) -> str:
    return DASH if found is None else f"{significant(found, digits)}×"


def given(found: float, unit: str = "") -> str:
    """Return a number that a person chose, as they would write it: 10, 2.5, 0.05."""
    shown = f"{found:,.6g}".replace("-", MINUS)
    return f"{shown}{THIN + unit if unit else ''}"


def seconds(found: float | None) -> str:
    if found is None:
        return DASH
    return number(found, 1, "s") if found < 100 else f"{int(found // 60)}{THIN}min {round(found % 60):d}{THIN}s"


def rows_of(n: Any, noun: str = "row") -> str:
    """Return "1 row", "3,412 rows"; a dash where the count is not known."""
    return DASH if n is None else f"{int(n):,}{THIN}{noun}{'' if n == 1 else 's'}"

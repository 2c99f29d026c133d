"""The verdict in words: why, and what would help. Each line is worth an engineer's while, and names its number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..records import Check, Interval

if TYPE_CHECKING:
    from .verdict import Contender, Outcome, Verdict

NAMES = {"latency_p95_ms": "p95 latency", "speedup": "speed-up", "size_mb": "size", "cost_usd": "the teacher's bill"}
METRICS = {  # the longer before what they hold
    "subset_accuracy": "subset accuracy", "hamming_loss": "Hamming loss", "micro_f1": "micro-F1",
    "accuracy": "accuracy", "macro_f1": "macro-F1", "mcc": "MCC", "log_loss": "log-loss",
    "exact_match": "exact match", "rouge_l": "ROUGE-L", "choice": "right choices", "callable": "the function's grade",
}  # fmt: skip
POINTS = {
    f"drop in {metric}" for metric in ("accuracy", "macro_f1", "micro_f1", "subset_accuracy", "hamming_loss", "exact_match", "rouge_l", "choice", "callable")
}  # shown times 100


def _plain(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:,.0f}"
    return "0" if text in ("-0", "") else text


def amount(check: Check) -> tuple[Callable[[float], str], str]:
    """Return how a check's numbers are written, and the word that follows them."""
    if check.unit in POINTS:
        return lambda x: _plain(100 * x, 2), " points"
    if check.unit.startswith("relative drop") or check.unit == "disagreement":
        return lambda x: _plain(100 * x, 2), " %"
    if check.unit.startswith("drop in "):
        return lambda x: _plain(x, 4), ""
    return lambda x: _plain(x, 2 if abs(x) < 100 else 0), f" {check.unit}" if check.unit else ""


def sentence(check: Check, *, alpha: float | None = None) -> str:
    """Return a check in words: "the drop in accuracy is 1.2 points (at most 2.4 at 96 % confidence), allowed 2: inconclusive".

    ``alpha``: of the read, said where the check was decided on the test rows.
    """
    name = NAMES.get(check.name, check.name if check.name not in ("quality", "fidelity") else f"the {check.unit or check.name}")
    for key, word in METRICS.items():
        name = name.replace(f" {key}", f" {word}")
    if check.value is None:
        return f"{name}: {check.note}: {check.status}"
    text, unit = amount(check)
    least = check.name == "speedup"
    low_matters = (check.status == "fail") != least  # the bound that decided, or that kept it from being decided
    bound = check.low if low_matters else check.high
    said = ""
    if bound is not None and check.low != check.high:
        sure = f" at {100 * (1 - alpha):.4g} % confidence" if alpha is not None and check.name in ("quality", "fidelity") else ""
        said = f" ({'at least' if low_matters else 'at most'} {text(bound)}{sure})"
    why = f" ({check.note})" if check.status == "inconclusive" and check.note.startswith("fewer than") else ""
    return f"{name} is {text(check.value)}{unit}{said}, {'required' if least else 'allowed'} {text(check.required)}: {check.status}{why}"


def reasons(verdict: Verdict, contenders: Mapping[str, Contender], alpha: float) -> list[str]:
    """Return one line for each student, in the order in which they were tested."""
    stopped = next((o.name for o in verdict.outcomes if o.tested and contenders[o.name].test and o.checks[0].status != "pass"), None)
    return [_reason(outcome, verdict, contenders[outcome.name], alpha, stopped) for outcome in verdict.outcomes]


def _reason(outcome: Outcome, verdict: Verdict, contender: Contender, alpha: float, stopped: str | None) -> str:
    name, open_lines = outcome.name, [check for check in outcome.checks if check.status != "pass"]
    if outcome.meets:
        smallest = f", and is the smallest that does ({contender.size_bytes / 1e6:.1f} MB)" if name == verdict.student else ""
        shown = f": {sentence(outcome.checks[0], alpha=alpha)}" if outcome.checks else ""
        return f"{name} meets every line of the requirement{smallest}{shown}"
    if outcome.meets is False and not outcome.tested:
        failed = "; ".join(sentence(check) for check in outcome.checks if check.status == "fail")
        return f"{name} was left out before any test row was spent on it: {failed}"
    if not outcome.tested:
        return f"{name} was not tested: students are tested best on validation first, and {stopped} was not shown to be good enough"
    line = f"{name}: " + "; ".join(sentence(check, alpha=alpha) for check in open_lines)
    if contender.test and outcome.checks[0].status == "inconclusive" and outcome.checks[0].value is not None:
        plan = contender.expected
        if outcome.rows_needed is not None:
            line += f"; about {outcome.rows_needed:,} test rows would decide"
        elif plan.drop >= plan.margin:
            line += "; no number of test rows would show it to be good enough: on validation, too, it is over what is allowed"
    return line


def advice(verdict: Verdict, contenders: Sequence[Contender], test_rows: int) -> list[str]:
    """Return what to do next."""
    checks = [check for outcome in verdict.outcomes for check in outcome.checks]
    failed = {check.name for check in checks if check.status == "fail"}
    lines = []
    if not any(contender.test for contender in contenders):
        lines.append("nothing is required of quality: give `quality` (with gold) or `fidelity` (without), or anything small and fast enough ships")
    if verdict.decision == "ship":
        return [*lines, "keep the teacher behind it, and watch its agreement with the teacher in production"]
    lines += _rows_advice(verdict.rows_needed, test_rows)
    lines += [line for names, line in ADVICE if failed & names]
    if any(check.note.startswith("fewer than") for check in checks):
        lines.append("more groups in the test rows, not more rows of the same groups, would decide")
    if any(check.name in NAMES and check.value is not None and check.status == "inconclusive" for check in checks):
        lines.append("time again on a quiet machine: the interval of a measurement holds the limit")
    return lines


def cautions(name: str, metric: str, *, floor: Interval | None, control: Interval | None, named: str = "TF-IDF with a linear model") -> list[str]:
    """Return what to think of before ``name`` ships, which is as good as its teacher: whether anything cheaper is as good as it.

    ``floor`` and ``control``: its gain over the floor, which is ``named``, and over itself trained without the teacher; in the metric's
    units, two-sided 95 %, None where there is none.
    """
    word = METRICS.get(metric, metric)
    lines = []
    for gain, better, alike in (
        (floor, f"{named} on the gold rows is better than {{}} in {{}}: ship that, or find a better teacher",
         f"{{}} is not shown to be better in {{}} than {named} on the gold rows, which needs no teacher"),
        (control, "trained on the gold rows alone, without the teacher, the same student is better than {} in {}: ship that",
         "{} is not shown to be better in {} than the same student without the teacher: the teacher may not be needed for it"),
    ):  # fmt: skip
        if gain is not None and gain.n and gain.low <= 0:
            said = (better if gain.high < 0 else alike).format(name, word)
            text, unit = amount(Check("gain", 0.0, None, None, None, None, "inconclusive", f"drop in {metric}"))
            lines.append(f"before you ship: {said} (gain {text(gain.value)}{unit}, 95 % {text(gain.low)} to {text(gain.high)})")
    return lines


def _rows_advice(needed: int | None, test_rows: int) -> list[str]:
    if needed is None:
        return []
    if needed > PRACTICAL * test_rows:
        near = "by validation the drop is so near to what is allowed that more rows are no way to tell"
        return [f"about {needed:,} test rows would decide in 80 % of cases; there are {test_rows:,}: {near}; bring the student closer instead"]
    if needed > test_rows:
        return [f"about {needed:,} test rows would decide in 80 % of cases; there are {test_rows:,}"]
    return [
        f"by validation {needed:,} test rows decide in 80 % of cases, and these {test_rows:,} did not: chance, or rows harder than those of "
        "validation; fresh test rows would tell"
    ]


PRACTICAL = 20  # times the test rows at hand: assumed to be more than anyone will label
ADVICE = (
    ({"quality", "fidelity"}, "more of the pool for the teacher to label, a larger student, or more epochs bring a student closer to its teacher"),
    ({"latency_p95_ms", "speedup"}, "a student of another kind (static, ngram) or with fewer layers is faster"),
    ({"size_mb"}, "half of a small encoder is its embedding table: a student of kind ngram, or of fewer dimensions, is smaller"),
    ({"cost_usd"}, "label fewer rows (rounds: {first: ...}) or raise max_cost_usd: answers already paid for are kept and cost nothing again"),
)

"""Step 11: the requirement's lines are decided on what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..lookup import load
from ..records import Check, Interval
from ..records import in_words as words
from ..workspace import Workspace
from .data import Data
from .judge import Candidate, Opened, registered_order
from .teach import main_metric, on_validation


def certify(work: Workspace, data: Data, standing: Any, found: Sequence[Candidate], speed: Any, opened: Opened) -> Any:
    """Return the verdict, None without a requirement."""
    required = work.recipe.requirement
    if required is None:
        return None
    measured = speed.read()
    contenders = [_contender(work, data, standing, candidate, measured, opened) for candidate in found]
    part = required.quality or required.fidelity
    alpha = 1 - (part.confidence if part else 0.95)
    order, rows = registered_order(work, data, found, standing, opened.held), (opened.decided or opened).rows
    return load("potstill.evaluation.verdict:certify")(contenders, alpha=alpha, read=opened.read, test_rows=len(rows), order=order)


def rows_of(opened: Opened, student: np.ndarray, teacher: np.ndarray | None = None) -> Any:
    """Return the paired rows of a student and the teacher, or whoever stands in the teacher's place."""
    return load("potstill.evaluation.checks:Rows")(opened.gold, opened.logprobs["teacher"] if teacher is None else teacher, student, opened.groups)


def _contender(work: Workspace, data: Data, standing: Any, candidate: Candidate, measured: Mapping[str, Any], opened: Opened) -> Any:
    if opened.held is not None and opened.decided is not None:
        held, test = opened.held.sides(candidate.model.name), opened.decided.sides(candidate.model.name)
    else:
        held = load("potstill.evaluation.checks:Rows")(
            work.task.encode(data.validation.examples, data.head), on_validation(standing)["teacher"],
            candidate.model.decided("validation"), data.validation.groups,
        )  # fmt: skip
        test = rows_of(opened, opened.logprobs[candidate.model.name])
    return load("potstill.evaluation.verdict:contender")(
        name=candidate.name, size_bytes=candidate.artifact.size_bytes, fixed=_fixed(work, candidate, measured), required=work.recipe.requirement,
        metric=main_metric(work, data), validation=held, test=test,
    )  # fmt: skip


def _fixed(work: Workspace, candidate: Candidate, measured: Mapping[str, Any]) -> tuple[Check, ...]:
    """Decide the lines that need no test row."""
    required: Any = work.recipe.requirement
    own = measured["measured"][candidate.name]
    module = "potstill.evaluation.checks"
    at_most, at_least, unknown = (load(f"{module}:{name}") for name in ("at_most", "at_least", "unknown"))
    lines = []
    if required.latency_p95_ms is not None and own["latency_ms"]["p95"] is None:
        lines.append(unknown("latency_p95_ms", required.latency_p95_ms, "fewer than 200 calls could be timed", unit="ms"))
    elif required.latency_p95_ms is not None:
        lines.append(at_most("latency_p95_ms", required.latency_p95_ms, _interval(own["latency_ms"]["p95"], "order statistics"), unit="ms"))
    if required.speedup is not None:
        ratio = measured["speedup"].get(candidate.name)
        if ratio is None:
            lines.append(unknown("speedup", required.speedup, "the teacher can't be timed here", unit="times"))
        else:
            lines.append(at_least("speedup", required.speedup, _interval(ratio["throughput"], "t interval of paired rounds' logarithms"), unit="times"))
    if required.size_mb is not None:
        size = candidate.artifact.size_bytes / 1e6
        lines.append(at_most("size_mb", required.size_mb, Interval(size, size, size, 1, "exact"), unit="MB"))
    if required.max_cost_usd is not None:
        usd, most = work.bill()
        lines.append(at_most("cost_usd", required.max_cost_usd, Interval(usd, usd, most, 1, "booked; the upper bound has what was possibly paid"), unit="USD"))
    return tuple(lines)


def _interval(found: Mapping[str, float], method: str) -> Interval:
    return Interval(found["value"], found["low"], found["high"], int(found["n"]), method)


def in_words(work: Workspace, data: Data, scores: np.ndarray) -> list[str | None]:
    """Return each row's decision in words, None where there is no answer."""
    return [None if found is None else words(found) for found in decisions(work, data, scores)]


def decisions(work: Workspace, data: Data, scores: np.ndarray) -> list[tuple[str, ...] | None]:
    """Return each row's labels, one or any number of them, None where there is no answer."""
    labels, answered = data.head.labels, ~np.isnan(scores).any(axis=1)
    decided = work.task.decide(np.nan_to_num(scores))
    told = [(labels[int(row)],) if data.head.kind == "classes" else tuple(labels[i] for i in np.flatnonzero(row)) for row in decided]
    return [row if there else None for row, there in zip(told, answered)]

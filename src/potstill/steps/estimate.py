"""Before the first call that is paid: what all of them will cost, by a probe of a few, and whether that is agreed to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from .. import rng, storage
from ..errors import UserError
from ..lookup import load
from ..records import Example, Interval, Want
from ..workspace import Workspace
from . import said
from .data import Data
from .label import first
from .teach import CONTENT_FREE, Teaching

PROBE = 20  # rows; their answers are kept like any, so none of them is asked twice
REMEDY = "state requirement.max_cost_usd, a hard stop, or agree with --yes (from Python: consent)"


def agree(work: Workspace, data: Data, teaching: Teaching) -> dict[str, Any] | None:
    """Return the estimate of what an endpoint's answers will cost; None where they cost nothing or nothing is asked.

    In a terminal it is asked about; `--yes` agrees to it; else it goes on only within the recipe's ``max_cost_usd``. What was agreed to is
    kept: neither a resumed run nor another over the same teacher, rows and limit is asked about again. Raises :class:`UserError` where it
    is not agreed to.
    """
    if not getattr(work.recipe.teacher, "paid", False) or work.offline:
        return None
    limit = work.recipe.requirement.max_cost_usd if work.recipe.requirement is not None else None

    def make(folder: Path, scratch: Path) -> None:
        if work.consent is None and limit is None:
            raise UserError("the teacher's answers cost money, and nobody is there to agree to it", place="teacher", remedy=REMEDY)
        found = _estimate(work, data, teaching)
        _agreed(work, found, limit)
        storage.write_json(folder / "result.json", found)

    spec = work.recipe.teacher
    inputs = {
        "teacher": teaching.fingerprint, "data": data.stage.fingerprint, "rounds": work.recipe.rounds.model_dump(mode="json"), "limit": limit,
        "prices": [spec.usd_per_million_in, spec.usd_per_million_out],
    }  # fmt: skip
    estimate: dict[str, Any] = work.shared.get("estimate", inputs, make).read()
    return estimate


def _agreed(work: Workspace, found: dict[str, Any], limit: float | None) -> None:
    """Raise :class:`UserError` unless what is still to be paid is agreed to."""
    work.log.say(in_words(found))
    if not found["rows"]:
        return
    if work.consent is not None:
        if not work.consent(f"{in_words(found)}; go on?"):
            raise UserError("it was not agreed to; what was answered is kept", place="the teacher's bill", remedy="label fewer rows: rounds.first, data.limit")
        return
    value, spent = found["usd"]["value"], work.bill()[1]
    if limit is not None and spent + value > limit:
        remedy = "raise max_cost_usd, label fewer rows (rounds.first, data.limit), or go on as far as it reaches with --yes"
        raise UserError(f"{in_words(found)}; {spent:.4f} USD are spent", place=f"requirement.max_cost_usd: {limit}", remedy=remedy)


def _estimate(work: Workspace, data: Data, teaching: Teaching) -> dict[str, Any]:
    """Return the rows that are still to be asked about, and their dollars and tokens with 95 % prediction intervals."""
    store = teaching.account.store
    identity, way = teaching.teacher.identity(), said.of(work, data)
    if len(store.index.prices(identity)) < PROBE:
        some = sorted(way.costing((*data.train, *data.unlabeled)), key=lambda row: rng.integer(0, "price", row.id))[:PROBE]
        work.log.say(f"asking the teacher about {len(some)} rows, to learn what they cost")
        way.asked(teaching, some)
    prices = store.index.prices(identity)
    rows = _unanswered(teaching, way.costing((*data.validation, *data.calibration, *first(work, data).rows)), store, way.want(teaching))
    rows += len(CONTENT_FREE) if getattr(work.recipe.teacher, "calibration", "none") == "content_free" else 0
    rows += len(data.test) + work.recipe.rounds.each * (work.recipe.rounds.count - 1)
    if work.recipe.robustness.ask_teacher:
        rows += min(work.recipe.robustness.rows, len(data.test)) * len(work.recipe.robustness.arms)
    figures = {"usd": [usd for _, _, usd in prices], "tokens": [float(a + b) for a, b, _ in prices]}
    return {"rows": rows, "probed": len(prices), "spent_usd": work.bill()[0], **{name: asdict(predicted(values, rows)) for name, values in figures.items()}}


def _unanswered(teaching: Teaching, rows: Sequence[Example], store: Any, want: Want) -> int:
    key_of, identity = load("potstill.labels.store:key_of"), teaching.teacher.identity()
    keys = list({key_of(identity, teaching.teacher.request(row)) for row in rows})
    return len(keys) - len(store.index.locate(keys, want.key))


def predicted(values: Sequence[float], rows: int) -> Interval:
    """Return the sum over ``rows`` more like ``values``, with its two-sided 95 % prediction interval (Student's t; never below 0).

    With fewer than two values nothing is known of how they differ: the interval is that of a sum that may be 0 or any.
    """
    n, mean = len(values), fmean(values) if values else 0.0
    if n < 2:
        return Interval(rows * mean, 0.0, rows * mean * 10, n, "too few calls to tell: 0 to ten times as much")
    half = load("potstill.evaluation.statistics.special:t_ppf")(0.975, n - 1) * stdev(values) * math.sqrt(rows * rows / n + rows)
    return Interval(rows * mean, max(0.0, rows * mean - half), rows * mean + half, n, "prediction, Student's t")


def in_words(found: dict[str, Any]) -> str:
    usd, tokens = found["usd"], found["tokens"]
    return (
        f"asking about {found['rows']:,} rows will cost about {usd['value']:.4f} USD ({usd['low']:.4f} to {usd['high']:.4f}), "
        f"{tokens['value']:,.0f} tokens, by {found['probed']:,} calls that were made; calls that must be repeated, and rows that are made, not counted"
    )

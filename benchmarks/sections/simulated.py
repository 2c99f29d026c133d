"""Whether what is promised with a confidence is kept that often."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any


def verdict(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## How often the verdict is wrong"
    yield ""
    yield f"`python benchmarks/simulate_verdict.py`: {found['draws']:,} simulated test sets of each situation, {found['confidence']:.0%} confidence. A false"
    yield "ship is a student truly at the edge of what is allowed (or worse) that ships; the bound is the 99 % lower one of its rate. Power is how often a"
    yield "student ships with the number of rows that `rows_needed` gave, 80 % promised; the bound there is the half-width of the 99 % interval."
    by_claim: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in found["lines"]:
        by_claim[line["claim"]].append(line)
    for claim, lines in by_claim.items():
        yield ""
        yield f"| {claim} | n | draws | shipped | bound | promised | holds |"
        yield "|---|---|---|---|---|---|---|"
        for line in lines:
            holds = "yes" if line["holds"] else "**no**"
            rates = f"{line['shipped']:.1%} | {line['bound']:.1%} | {line['promised']:.0%}"
            yield f"| {line['situation']} | {line['n']:,} | {line['draws']:,} | {rates} | {holds} |"


def cascade(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## How often a cascade's policy misses its risk"
    yield ""
    risk, sure, may = f"{found['risk']:.0%}", f"{found['confidence']:.0%}", f"{1 - found['confidence']:.0%}"
    yield f"`python benchmarks/simulate_cascade.py`: {found['draws']:,} simulated sets of calibration rows of each situation (of labels: a quarter); at"
    yield f"most {risk} of the answers not passed on may be wrong, at {sure} confidence, so that at most {may} of draws may miss it; the bound is"
    yield "the 99 % lower one of the rate of misses. Naive: the lowest threshold that meets the risk on the rows themselves. Times: the mean share passed"
    yield "on over that of an oracle, who knows how often each answer is wrong; a draw that can certify nothing passes all on, and counts. The targets are"
    yield "of the first world alone."
    yield ""
    yield "| world | n | missed | bound | naive | passed on | oracle | times | target | all passed on |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for line in found["lines"]:
        naive = "-" if line["naive"] is None else f"{line['naive']:.0%}"
        target = "-" if line["target"] is None else f"{line['target']:g}" + ("" if line["near"] else ", **missed**")
        bound = f"{line['bound']:.1%}" + ("" if line["holds"] else ", **too high**")
        shares = f"{line['passed_on']:.1%} | {line['oracle']:.1%} | {line['times']:.2f}"
        yield f"| {line['world']} | {line['n']:,} | {line['missed']:.1%} | {bound} | {naive} | {shares} | {target} | {line['all_passed_on']:.0%} |"

"""How often does the verdict ship a student that is not good enough? Simulated at the edge: the true drop is exactly what is allowed.

    python benchmarks/simulate_verdict.py [--draws 2000]

Claims, each with its draws: (1) a student at the edge ships in at most 1 - confidence of draws (the 99 % lower bound of the rate says
so), ungrouped and grouped, for shares, macro-F1 and relative drops, in a sequence of students, over three looks at the same rows;
(2) a student that is as good as its teacher ships in about 80 % of draws at the promised number of rows. The rule "observed drop <=
allowed drop" stands beside it. Figures go to benchmarks/results/simulate_verdict.json; they depend on the seed alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from potstill import rng, storage
from potstill.evaluation.checks import at_most, quality_check
from potstill.evaluation.metrics import MCC, Accuracy, MacroF1
from potstill.evaluation.plan import quality_plan
from potstill.evaluation.registration import Read, share
from potstill.evaluation.rows import Rows, difference, drop_interval, relative_drop_interval
from potstill.evaluation.statistics import Paired, clopper_pearson, grouped_difference, jackknife_t, rows_needed, rows_needed_share, tango_bounds
from potstill.evaluation.statistics.intervals import group_size
from potstill.evaluation.statistics.power import tango_power
from potstill.evaluation.verdict import Contender, certify
from potstill.recipe.requirement import Quality
from potstill.records import Check, Interval

RESULT = Path(__file__).parent / "results" / "simulate_verdict.json"
CONFIDENCE, MAX_DROP = 0.95, 0.02
ALPHA = 1 - CONFIDENCE
FIRST = share(1, ALPHA)  # what the first look at the test rows may spend
Required = Quality(max_drop=MAX_DROP, confidence=CONFIDENCE)


@dataclass(frozen=True)
class Line:
    """One simulated situation: how often it shipped, the bound of that rate, and what was promised."""

    claim: str
    situation: str
    n: int
    draws: int
    shipped: float
    bound: float  # 99 % lower bound of the rate where it must be low; for power, the rate's 99 % half width
    promised: float
    holds: bool
    exact: float | None = None  # the rate without simulation, where it can be summed


def false_ship(situation: str, n: int, shipped: np.ndarray, exact: float | None = None) -> Line:
    low, _ = clopper_pearson(int(shipped.sum()), len(shipped), 0.01)
    return Line("false ship", situation, n, len(shipped), float(shipped.mean()), low, ALPHA, bool(low <= ALPHA), exact)


def power(situation: str, n: int, shipped: np.ndarray, exact: float | None = None) -> Line:
    low, high = clopper_pearson(int(shipped.sum()), len(shipped), 0.005)
    return Line("power", situation, n, len(shipped), float(shipped.mean()), (high - low) / 2, 0.8, bool(high >= 0.8), exact)


def tables(random: np.random.Generator, n: int, discordance: float, drop: float, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (worse, better) counts of draws of n rows. *Shape:* (draws,) each."""
    worse, better = (discordance + drop) / 2, (discordance - drop) / 2
    found = random.multinomial(n, [worse, better, 1 - worse - better], size=draws)
    return found[:, 0], found[:, 1]


def passes(worse: np.ndarray, better: np.ndarray, n: int, alpha: float) -> np.ndarray:
    return np.asarray(tango_bounds(worse.astype(float), better.astype(float), np.asarray(float(n)), alpha)[1] <= MAX_DROP)


def as_rows(worse: int, better: int, n: int) -> Rows:
    """Return rows with these counts: two classes, the gold always 0."""
    teacher, student = np.zeros(n, int), np.zeros(n, int)
    student[:worse], teacher[worse : worse + better] = 1, 1
    sides = [np.log(np.where(np.eye(2)[told] == 1, 0.9, 0.1)) for told in (teacher, student)]
    return Rows(np.zeros(n, int), sides[0], sides[1], None)


# ----------------------------------------------------------------------------------------------------------- false "ship"
def ungrouped(random: np.random.Generator, draws: int) -> Iterator[Line]:
    for n in (200, 1000, 4000):
        for discordance in (0.02, 0.06, 0.10, 0.20):
            worse, better = tables(random, n, discordance, MAX_DROP, draws)
            shipped = passes(worse, better, n, FIRST)
            for i in range(20):  # the fast path decides as the verdict does
                check = quality_check(Required, Accuracy(2), as_rows(int(worse[i]), int(better[i]), n), FIRST)
                assert (check.status == "pass") == shipped[i]
            exact = tango_power(n, (discordance + MAX_DROP) / 2, (discordance - MAX_DROP) / 2, MAX_DROP, FIRST)
            yield false_ship(f"accuracy, discordance {discordance:.0%}", n, shipped, exact)


def naive(random: np.random.Generator, draws: int) -> Iterator[Line]:
    """The rule that people use, for a student that is really 3 points worse: shown, not promised."""
    worse, better = tables(random, 200, 0.10, 0.03, draws)
    rate = (worse - better) / 200 <= MAX_DROP
    yield Line("observed drop <= allowed", "a student 3 points worse, discordance 10%", 200, draws, float(rate.mean()), 0.0, ALPHA, True)
    shipped = passes(worse, better, 200, FIRST)
    yield false_ship("the same student, by the verdict", 200, shipped)


SIZES = {"60 groups of 10": np.full(60, 10), "200 groups of 5": np.full(200, 5), "100 groups, few of them large": (400 // np.arange(1, 101))}


def grouped_tables(random: np.random.Generator, sizes: np.ndarray, discordance: float, drop: float, icc: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (worse, better, groups), each by row; ``icc`` 1: a group is right or wrong as one; 0: rows are independent."""
    shares = np.array([(discordance + drop) / 2, (discordance - drop) / 2, 1 - discordance])
    if icc >= 1:
        by_group = np.eye(3)[random.choice(3, size=len(sizes), p=shares)]
    else:
        by_group = random.dirichlet(np.maximum(shares * (1 - icc) / icc, 1e-9), size=len(sizes)) if icc > 0 else np.tile(shares, (len(sizes), 1))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    edges = np.cumsum(by_group, axis=1)[groups]
    place = (random.random(len(groups))[:, None] > edges[:, :2]).sum(axis=1)
    return place == 0, place == 1, groups


def grouped(random: np.random.Generator, draws: int) -> Iterator[Line]:
    for name, sizes in SIZES.items():
        for discordance, icc in ((0.02, 1.0), (0.06, 0.0), (0.06, 0.3), (0.12, 0.3)):
            shipped = np.array([grouped_difference(*grouped_tables(random, sizes, discordance, MAX_DROP, icc), FIRST)[1] <= MAX_DROP for _ in range(draws)])
            yield false_ship(f"{name}, discordance {discordance:.0%}, correlation {icc:g}", int(sizes.sum()), shipped)


def several(random: np.random.Generator, draws: int) -> Iterator[Line]:
    """Four students, all at the edge; and one as good as the teacher followed by three at the edge, smaller. Drawn independently of each
    other: the more they differ, the likelier it is that one of them passes."""
    for n in (200, 1000):
        for first in (MAX_DROP, 0.0):
            drops = (first, MAX_DROP, MAX_DROP, MAX_DROP)
            passed = np.stack([passes(*tables(random, n, 0.10, drop, draws), n, FIRST) for drop in drops], axis=1)
            reached = np.cumprod(passed, axis=1).astype(bool)  # tested only after all before it passed
            wrong = reached & (np.array(drops) >= MAX_DROP)
            for i in range(20):
                assert (_sequence(passed[i], drops) in np.flatnonzero(wrong[i])) == wrong[i].any()
            which = "four students at the edge" if first else "one as good as the teacher, three smaller at the edge"
            yield false_ship(which, n, wrong.any(axis=1))


def _sequence(passed: np.ndarray, drops: tuple[float, ...]) -> int | None:
    """Return which student the verdict ships, when these pass."""

    def check(ok: bool) -> Callable[[float], Check]:
        return lambda alpha: at_most("quality", MAX_DROP, Interval(0.01, 0.0, 0.01 if ok else 0.03, 100), unit="drop in accuracy")

    contenders = [Contender(str(i), 100 - i, float(i), (), check(bool(ok)), MAX_DROP, 0.1) for i, ok in enumerate(passed)]
    verdict = certify(contenders, alpha=ALPHA, read=Read(1, FIRST, False), test_rows=100)
    return None if verdict.student is None else int(verdict.student)


def looks(random: np.random.Generator, draws: int) -> Iterator[Line]:
    """Three looks at the same rows, each with a new student at the edge: any of them shipped. The students are drawn independently of each
    other, the worst that can be."""
    for n in (200, 1000, 4000):
        any_look = np.zeros(draws, bool)
        for number in (1, 2, 3):
            any_look |= passes(*tables(random, n, 0.06, MAX_DROP, draws), n, share(number, ALPHA))
        yield false_ship("three looks, a new student at the edge each time", n, any_look)


def fidelity(random: np.random.Generator, draws: int) -> Iterator[Line]:
    for n in (200, 1000, 4000):
        hits = random.binomial(n, 0.05, size=draws)
        high = {int(k): clopper_pearson(int(k), n, FIRST)[1] for k in np.unique(hits)}
        yield false_ship("disagreement exactly as allowed (5%)", n, np.array([high[int(k)] <= 0.05 for k in hits]))


# ------------------------------------------------------------------------------------------------------------- bootstrap
def confusions(classes: int, tail: float, worse: float, better: float, rare: bool) -> np.ndarray:
    """Return the joint shares of (gold, teacher, student), *Shape:* (classes, classes, classes): gold falls off by ``tail``; the student's
    own mistakes hit all rows alike, or where ``rare`` the last class alone. It loses ``worse`` + ``better`` of the rows that the teacher
    has right, and gains ``better``: the drop is ``worse``."""
    gold = tail ** np.arange(classes)
    gold = gold / gold.sum()
    out = np.zeros((classes,) * 3)
    for k in range(classes):
        other = (k + 1) % classes
        lost = (worse if not rare else worse * (k == classes - 1) / gold[-1]) + better
        out[k, k, k], out[k, k, other] = gold[k] * (0.9 - lost), gold[k] * lost
        out[k, other, other], out[k, other, k] = gold[k] * (0.1 - better), gold[k] * better
    return out


def edge(metric: MacroF1 | MCC, classes: int, tail: float, better: float, rare: bool) -> np.ndarray:
    """Return the confusions at which the true drop in ``metric`` is exactly ``MAX_DROP``."""
    gold, teacher, student = (part.ravel() for part in np.indices((classes,) * 3))
    sides = [metric.statistics(gold, np.eye(classes)[told]) for told in (teacher, student)]

    def drop(worse: float) -> float:
        p = confusions(classes, tail, worse, better, rare).ravel()[:, None] * 1e9  # counts, so that nothing is taken for none
        return float(metric.combine((p * sides[0]).sum(axis=0)) - metric.combine((p * sides[1]).sum(axis=0)))

    low, high = 0.0, 0.02 if rare else 0.3
    for _ in range(60):
        low, high = ((low + high) / 2, high) if drop((low + high) / 2) < MAX_DROP else (low, (low + high) / 2)
    return confusions(classes, tail, high, better, rare)


def sample(random: np.random.Generator, shares: np.ndarray, n: int) -> Rows:
    classes = shares.shape[0]
    gold, teacher, student = np.unravel_index(random.choice(shares.size, size=n, p=shares.ravel()), shares.shape)
    soft = [np.log(np.where(np.eye(classes)[told] == 1, 0.9, 0.1 / (classes - 1))) for told in (teacher, student)]
    return Rows(gold, soft[0], soft[1], None)


def bootstrapped(random: np.random.Generator, draws: int) -> Iterator[Line]:
    for metric in (MacroF1(4), MCC(4)):
        for n, better, rare in ((400, 0.0, False), (400, 0.03, False), (1000, 0.0, True)):
            shares = edge(metric, 4, 0.5, better, rare)
            shipped = np.array([_passes_in(metric, sample(random, shares, n)) for _ in range(draws)])
            where = "in the rarest class alone" if rare else f"anywhere, {better:.0%} the other way"
            yield false_ship(f"{metric.name}, four classes of unequal size, mistakes {where}", n, shipped)


def _passes_in(metric: MacroF1 | MCC, rows: Rows) -> bool:
    """The jackknife's bound, one of those that must all hold, costs a tenth of the bootstrap: where it fails, that decides."""
    sides = Paired.of(metric.statistics(rows.gold, rows.teacher), metric.statistics(rows.gold, rows.student), None)
    return jackknife_t(sides, difference(metric), FIRST)[1] <= MAX_DROP and drop_interval(metric, rows, FIRST).high <= MAX_DROP


def relative(random: np.random.Generator, draws: int) -> Iterator[Line]:
    for n in (200, 1000):
        for better in (0.0, 0.03):
            worse = 0.03 * 0.8 + better  # teacher 0.8: a relative drop of exactly 3 %
            shares = np.zeros((2, 2, 2))
            shares[0, 0, 0], shares[0, 0, 1], shares[0, 1, 1], shares[0, 1, 0] = 0.8 - worse, worse, 0.2 - better, better
            shipped = np.array([relative_drop_interval(Accuracy(2), sample(random, shares, n), 0.03, FIRST).high <= 0.03 for _ in range(draws)])
            yield false_ship(f"relative drop of 3 % allowed, {better:.0%} the other way", n, shipped)


# ----------------------------------------------------------------------------------------------------------------- power
def powers(random: np.random.Generator, draws: int) -> Iterator[Line]:
    for discordance, drop in ((0.05, 0.0), (0.10, 0.0), (0.20, 0.0), (0.10, 0.005), (0.10, 0.01)):
        n = rows_needed(discordance=discordance, drop=drop, max_drop=MAX_DROP, alpha=FIRST)
        assert n is not None
        shipped = passes(*tables(random, n, discordance, drop, draws), n, FIRST)
        exact = tango_power(n, (discordance + drop) / 2, (discordance - drop) / 2, MAX_DROP, FIRST)
        yield power(f"drop {drop:.1%}, discordance {discordance:.0%}", n, shipped, exact)
    n = rows_needed_share(share=0.03, most=0.05, alpha=FIRST)
    assert n is not None
    hits = random.binomial(n, 0.03, size=draws)
    high = {int(k): clopper_pearson(int(k), n, FIRST)[1] for k in np.unique(hits)}
    yield power("disagreement 3 %, allowed 5 %", n, np.array([high[int(k)] <= 0.05 for k in hits]))
    yield from grouped_powers(random, draws)
    yield from planned_powers(random, draws // 4)


def planned_powers(random: np.random.Generator, draws: int) -> Iterator[Line]:
    """Where no proportion is tested, the plan stands on the spread of validation rows: many here, so that only the rule is judged."""
    shares = confusions(4, 0.5, 0.0, 0.03, False)
    for metric, required in (
        (MacroF1(4), Quality(metric="macro_f1", max_drop=MAX_DROP)),
        (Accuracy(4), Quality(max_relative_drop=0.03)),
    ):
        plan = quality_plan(required, metric, sample(random, shares, 50_000))
        expected = replace(plan, drop=0.0)  # equal on the whole: what validation adds by chance is not the rule's
        n = expected.rows_needed(FIRST)
        shipped = [quality_check(required, metric, sample(random, shares, n), FIRST).status == "pass" for _ in range(draws)]
        yield power(f"equal student, {plan.line.unit}", n, np.array(shipped))


def grouped_powers(random: np.random.Generator, draws: int) -> Iterator[Line]:
    for size, icc in ((5, 0.0), (5, 0.2), (10, 0.1)):
        sizes = np.full(10, size)
        effect = 1 + (size - 1) * icc
        n = rows_needed(
            discordance=0.10, drop=0.0, max_drop=MAX_DROP, alpha=FIRST, design_effect=effect, group_size=group_size(np.repeat(np.arange(10), sizes))
        )
        assert n is not None
        sizes = np.full(round(n / size), size)
        shipped = [grouped_difference(*grouped_tables(random, sizes, 0.10, 0.0, icc), FIRST)[1] <= MAX_DROP for _ in range(draws)]
        yield power(f"drop 0, discordance 10%, groups of {size}, correlation {icc:g}", int(sizes.sum()), np.array(shipped))


PARTS = (ungrouped, naive, grouped, several, looks, fidelity, bootstrapped, relative, powers)


def simulate(draws: int, parts: tuple[Callable[[np.random.Generator, int], Iterator[Line]], ...] = PARTS, seed: int = 0) -> list[Line]:
    """Return every line of these parts; each part has a stream of its own."""
    return [line for part in parts for line in part(rng.stream(seed, "simulate", part.__name__), draws)]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--draws", type=int, default=2000, help="of each situation")
    draws = options.parse_args().draws
    began = time.perf_counter()
    lines = []
    print(f"{'claim':26}{'situation':84}{'n':>7}{'shipped':>9}{'exact':>8}{'bound':>8}{'promised':>10}  holds")
    for part in PARTS:
        for line in simulate(draws, (part,)):
            lines.append(line)
            exact = "" if line.exact is None else f"{line.exact:.2%}"
            print(
                f"{line.claim:26}{line.situation:84}{line.n:>7,}{line.shipped:>9.2%}{exact:>8}{line.bound:>8.2%}{line.promised:>10.0%}"
                f"  {'yes' if line.holds else 'NO'}",
                flush=True,
            )
    record = {
        "draws": draws, "confidence": CONFIDENCE, "max_drop": MAX_DROP, "seed": 0, "seconds": round(time.perf_counter() - began, 1),
        "python": sys.version.split()[0], "numpy": np.__version__, "lines": [asdict(line) for line in lines],
    }  # fmt: skip
    storage.write_json(RESULT, record)
    print(json.dumps({"lines": len(lines), "hold": sum(line.holds for line in lines), "seconds": record["seconds"], "file": str(RESULT)}))
    return 0 if all(line.holds for line in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())

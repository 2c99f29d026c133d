"""Traps of the evidence: a rule that chance passes, one look too many, a teacher that should not be learnt from."""

from __future__ import annotations

import numpy as np
import pytest

from potstill import storage
from potstill.errors import SealedError
from potstill.evaluation.checks import quality_check
from potstill.evaluation.metrics import MCC, Accuracy, LogLoss, MacroF1
from potstill.evaluation.registration import Read, read, register, share
from potstill.evaluation.rows import Rows, drop_interval, retention_interval, seeds_interval
from potstill.evaluation.standing import teacher_notes, teacher_standing
from potstill.evaluation.statistics import clopper_pearson, grouped_difference, rows_needed, tango_bounds
from potstill.evaluation.verdict import certify, contender
from potstill.recipe.requirement import Quality, Requirement
from potstill.records import Example, Interval, SealedSplit, rows_digest
from tests.evaluation.draws import noisy, pair

DRAWS, ALPHA, MAX_DROP = 2000, 0.05, 0.02
ASKED = Quality(max_drop=MAX_DROP, confidence=1 - ALPHA)


def counts(n: int, discordance: float, drop: float, seed: int = 0) -> np.ndarray:
    """(draws, 2): rows that only the teacher, only the student has right, in draws of n rows with that true drop."""
    shares = [(discordance + drop) / 2, (discordance - drop) / 2, 1 - discordance]
    return np.random.default_rng(seed).multinomial(n, shares, size=DRAWS)[:, :2]


def least_rate(shipped: np.ndarray) -> float:
    """The 99 % lower bound of a rate."""
    return clopper_pearson(int(shipped.sum()), len(shipped), 0.01)[0]


# ---------------------------------------------------------------------------------------------------------------- trap 60
def test_trap_60_a_student_at_the_edge_ships_no_more_often_than_promised():
    """The verdict itself, 2,000 times at n = 200: the true drop is what is allowed."""
    alpha = share(1, ALPHA)
    shipped = np.array([quality_check(ASKED, Accuracy(2), pair(*drawn, 200), alpha).status == "pass" for drawn in counts(200, 0.10, MAX_DROP).tolist()])
    assert least_rate(shipped) <= ALPHA
    naive = np.diff(counts(200, 0.10, 0.03), axis=1)[:, 0] >= -MAX_DROP * 200
    assert naive.mean() > 0.3  # what people do: a student 3 points worse passes "observed drop <= allowed" so often


def test_trap_60_nor_over_three_looks_at_the_same_rows():
    passed = np.zeros(DRAWS, bool)
    for number in (1, 2, 3):
        worse, better = counts(1000, 0.06, MAX_DROP, seed=number).T.astype(float)
        passed |= tango_bounds(worse, better, np.float64(1000), share(number, ALPHA))[1] <= MAX_DROP
    assert least_rate(passed) <= ALPHA


def test_trap_60_nor_where_whole_groups_go_wrong():
    """One group in fifty is wrong as a whole: most draws of 60 groups hold one or none, and a bound from what was seen alone is 0 +- 0."""
    random, groups = np.random.default_rng(0), np.repeat(np.arange(60), 10)
    none = np.zeros(600, bool)
    bounds = [grouped_difference((random.random(60) < MAX_DROP)[groups], none, groups, share(1, ALPHA))[1] for _ in range(DRAWS)]
    assert least_rate(np.array(bounds) <= MAX_DROP) <= ALPHA


def test_trap_60_nor_where_resampling_never_shows_a_mistake():
    """Macro-F1 by bootstrap: with no mistake among the rows every draw is the same."""
    random, gold = np.random.default_rng(0), np.tile([0, 1], 50)
    told = np.log([[0.9, 0.1], [0.1, 0.9]])
    shipped = []
    for _ in range(300):
        wrong = random.random(100) < MAX_DROP
        shipped.append(drop_interval(MacroF1(2), Rows(gold, told[gold], told[np.where(wrong, 1 - gold, gold)], None), 0.04).high <= MAX_DROP)
    assert least_rate(np.array(shipped)) <= ALPHA


def test_trap_60_too_few_rows_are_inconclusive_with_the_number_needed():
    asked = Requirement(quality=ASKED)
    one = contender(name="half", size_bytes=1, fixed=(), required=asked, metric=Accuracy(2), validation=pair(10, 10, 200), test=pair(10, 10, 200))
    # The observed drop is none at all.
    made = certify([one], alpha=ALPHA, read=Read(1, share(1, ALPHA), False), test_rows=200)
    needed = rows_needed(discordance=0.1, drop=0.0, max_drop=MAX_DROP, alpha=share(2, ALPHA))
    assert (made.decision, made.student, made.rows_needed) == ("inconclusive", None, needed)
    assert f"about {needed:,} test rows would decide" in made.reasons[0]


def test_trap_60_the_number_needed_is_enough_in_four_of_five_draws():
    for discordance, drop in ((0.1, 0.0), (0.06, 0.005)):
        n = rows_needed(discordance=discordance, drop=drop, max_drop=MAX_DROP, alpha=share(1, ALPHA))
        worse, better = counts(n, discordance, drop).T.astype(float)
        rate = (tango_bounds(worse, better, np.float64(n), share(1, ALPHA))[1] <= MAX_DROP).mean()
        assert rate == pytest.approx(0.8, abs=0.03)


# ---------------------------------------------------------------------------------------------------------------- trap 55
@pytest.mark.parametrize("metric", [Accuracy(3), MacroF1(3), MCC(3), LogLoss(3)], ids=lambda m: m.name)
def test_trap_55_every_difference_has_a_paired_interval(metric):
    random = np.random.default_rng(0)
    gold, teacher = noisy(random, 400, 3, 0.2)
    _, other = noisy(np.random.default_rng(1), 400, 3, 0.2)
    student = np.where(random.random(400)[:, None] < 0.9, teacher, other)
    found = drop_interval(metric, Rows(gold, teacher, student, None), 0.025)
    apart = drop_interval(metric, Rows(gold, teacher, random.permutation(student), None), 0.025)
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.8 * (apart.high - apart.low)  # what both sides share has cancelled
    if metric.higher_is_better:
        kept = retention_interval(metric, Rows(gold, teacher, student, None), 0.025)
        assert kept.low < kept.value < kept.high


def test_trap_55_meets_the_requirement_means_that_its_bound_does():
    rows = pair(15, 5, 800)
    check = quality_check(ASKED, Accuracy(2), rows, 0.04)
    assert check.value < MAX_DROP < check.high
    assert check.status == "inconclusive"
    enough = quality_check(ASKED, Accuracy(2), pair(75, 25, 4000), 0.04)
    assert (enough.value, enough.status) == (check.value, "pass")


def test_trap_55_the_spread_over_seeds_is_part_of_the_interval():
    random = np.random.default_rng(0)
    gold, teacher = noisy(random, 2000, 3, 0.1)
    wrong = np.log([0.98, 0.01, 0.01])
    students = [np.where(random.random(2000)[:, None] < share_wrong, wrong, teacher) for share_wrong in (0.0, 0.2, 0.5)]
    together = seeds_interval(Accuracy(3), gold=gold, against=[teacher], students=students, groups=None, alpha=0.025)
    rows_alone = seeds_interval(Accuracy(3), gold=gold, against=[teacher], students=[students[1]], groups=None, alpha=0.025)
    assert together.high - together.low > 3 * (rows_alone.high - rows_alone.low)
    paired = seeds_interval(Accuracy(3), gold=gold, against=students, students=students, groups=None, alpha=0.025)
    assert (paired.value, paired.low, paired.high) == (0, 0, 0)  # each seed beside its own


# ---------------------------------------------------------------------------------------------------------------- trap 53
def test_trap_53_the_test_rows_stay_shut_until_the_analysis_is_on_paper(tmp_path):
    rows = (Example.make({"text": "a"}, gold="x"), Example.make({"text": "b"}, gold="y"))
    sealed = SealedSplit(rows_digest(rows), len(rows), lambda: rows)
    paper = register(tmp_path, {"quality": {"max_drop": 0.02}}, sealed.digest, {"order": ["half"]})
    written = storage.read_json(paper.path)
    assert (written["requirement"], written["test"], written["analysis"]) == ({"quality": {"max_drop": 0.02}}, sealed.digest, {"order": ["half"]})
    assert sealed.open(paper) == rows
    with pytest.raises(SealedError):
        sealed.open(register(tmp_path / "b", None, "rows of another test", {}))


def test_trap_53_a_requirement_changed_after_the_look_is_another_look(tmp_path):
    def look(max_drop: float, folder: str):
        paper = register(tmp_path / folder, {"quality": {"max_drop": max_drop}}, "rows", {})
        return read(paper, artifacts={"half": "1"}, predictions={"half": "a"}, alpha=ALPHA)

    first, tuned, again = look(0.02, "a"), look(0.03, "a"), look(0.02, "elsewhere")
    assert first.alpha == pytest.approx(0.8 * ALPHA)
    assert (tuned.number, tuned.alpha) == (2, pytest.approx(0.1 * ALPHA))
    assert (again.number, again.alpha, again.repeated) == (1, first.alpha, True)


def test_trap_53_a_student_tried_after_the_look_pays_for_another(tmp_path):
    paper = register(tmp_path, None, "rows", {})
    looks = [read(paper, artifacts={"half": str(k)}, predictions={"half": str(k)}, alpha=ALPHA) for k in range(6)]
    assert [one.number for one in looks] == [1, 2, 3, 4, 5, 6]
    assert sum(one.alpha for one in looks) < ALPHA


# ----------------------------------------------------------------------------------------------------------- traps 36, 41
def test_trap_36_a_saturated_teacher_is_said_and_so_is_one_that_its_student_beats():
    drops = {"half": Interval(-0.03, -0.05, -0.01, 500)}
    lines = teacher_notes(metric="accuracy", saturated=0.99, drops=drops)
    assert any("one-hot" in line for line in lines)
    assert any("half is better than its teacher" in line for line in lines)
    standing = teacher_standing(teacher=0.9, majority=0.5, floor=0.8, n=500, metric="accuracy", saturated=0.99)
    assert standing.status == "warn"
    assert "soft labels teach no more than hard ones" in standing.message


def test_trap_41_a_teacher_at_chance_is_refused_before_anything_is_trained_on_it():
    """Never adapted: it tells one of three classes by chance; the majority has 0.4."""
    random = np.random.default_rng(0)
    gold = random.choice(3, size=400, p=[0.4, 0.3, 0.3])
    for told in (random.integers(0, 3, 400), np.zeros(400, int)):
        standing = teacher_standing(teacher=float((told == gold).mean()), majority=0.4, floor=None, n=400, metric="accuracy")
        assert standing.status == "refuse"
        assert "at chance" in standing.message


def test_trap_41_a_teacher_below_the_floor_is_warned_of():
    standing = teacher_standing(teacher=0.7, majority=0.5, floor=0.8, n=500, metric="accuracy")
    assert standing.status == "warn"
    assert "do not distil this teacher" in standing.message

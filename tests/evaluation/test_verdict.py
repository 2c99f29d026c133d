"""Who ships, who is left out, who is not reached; and what is said about it."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.evaluation.checks import at_least, at_most, unknown
from potstill.evaluation.metrics import Accuracy, LogLoss, MacroF1
from potstill.evaluation.plan import fidelity_plan, quality_plan
from potstill.evaluation.reasons import cautions
from potstill.evaluation.registration import Read
from potstill.evaluation.rows import Rows
from potstill.evaluation.standing import teacher_notes, teacher_standing
from potstill.evaluation.statistics import rows_needed, rows_needed_share
from potstill.evaluation.verdict import Contender, certify, contender, sentence
from potstill.recipe.requirement import Fidelity, Quality, Requirement
from potstill.records import Interval

from .draws import noisy, pair

FIRST = Read(1, 0.04, False)
BOUNDS = {"pass": (0.001, 0.01), "fail": (0.03, 0.06), "inconclusive": (0.001, 0.03)}
SIZE = at_most("size_mb", 25, Interval(30, 30, 30, 1, "exact"), unit="MB")
SLOW = at_most("latency_p95_ms", 5, Interval(4.9, 4.7, 5.2, 1000, "order statistics"), unit="ms")


def student(name, status="pass", *, drop=0.0, size=10, fixed=(), asked=None):
    def test(alpha):
        (asked if asked is not None else []).append((name, alpha))
        return at_most("quality", 0.02, Interval(np.mean(BOUNDS[status]), *BOUNDS[status], 1000, "x"), unit="drop in accuracy")

    return Contender(name, size, drop, tuple(fixed), test, 0.02, 0.1)


def decide(*students, read=FIRST, **changed):
    return certify(students, alpha=0.05, read=read, test_rows=1000, **changed)


def test_the_smallest_that_passed_ships():
    made = decide(student("big", size=90), student("small", size=10, drop=0.01), student("middle", size=50, drop=0.005))
    assert (made.decision, made.student, made.rows_needed) == ("ship", "small", None)
    assert [o.name for o in made.outcomes] == ["big", "middle", "small"]
    assert all(o.meets is True for o in made.outcomes)
    assert "smallest" in made.reasons[2]


def test_the_sequence_goes_by_drop_on_validation_at_full_alpha_and_stops_at_the_first_not_shown():
    asked = []
    made = decide(student("c", drop=0.03, asked=asked), student("a", drop=0.0, asked=asked), student("b", "inconclusive", drop=0.01, asked=asked), read=FIRST)
    assert asked == [("a", 0.04), ("b", 0.04)]
    assert [o.meets for o in made.outcomes] == [True, None, None]
    assert (made.decision, made.student) == ("ship", "a")
    assert "stopped" not in made.reasons[2]
    assert "b was not shown" in made.reasons[2]


def test_the_registered_order_counts_where_it_is_given():
    asked = []
    decide(student("a", drop=0.0, asked=asked), student("b", drop=0.01, asked=asked), order=["b", "a"])
    assert [name for name, _ in asked] == ["b", "a"]


def test_who_fails_without_a_test_row_is_left_out_first_and_stops_nobody():
    asked = []
    made = decide(student("large", fixed=(SIZE,), asked=asked), student("half", drop=0.01, asked=asked))
    assert asked == [("half", 0.04)]
    assert (made.decision, made.student) == ("ship", "half")
    assert (made.outcomes[0].meets, made.outcomes[0].tested) == (False, False)
    assert made.reasons[0] == "large was left out before any test row was spent on it: size is 30 MB, allowed 25: fail"


def test_an_open_line_that_needs_no_test_row_keeps_from_shipping_and_stops_nobody():
    made = decide(student("half", fixed=(SLOW,)), student("static", drop=0.01))
    assert [o.meets for o in made.outcomes] == [None, True]
    assert made.student == "static"
    made = decide(student("half", fixed=(SLOW,)))
    assert (made.decision, made.student) == ("inconclusive", None)
    assert any("quiet machine" in line for line in made.advice)
    assert "p95 latency is 4.9 ms (at most 5.2), allowed 5: inconclusive" in made.reasons[0]


@pytest.mark.parametrize(
    ("statuses", "decision"),
    [(["fail"], "do-not-ship"), (["fail", "pass"], "inconclusive"), (["inconclusive"], "inconclusive"), (["pass", "fail"], "ship")],
)
def test_all_failed_is_do_not_ship_none_passed_otherwise_is_inconclusive(statuses, decision):
    made = decide(*(student(str(i), status, drop=i / 100) for i, status in enumerate(statuses)))
    assert made.decision == decision


def test_all_left_out_is_do_not_ship():
    made = decide(student("a", fixed=(SIZE,)), student("b", fixed=(SIZE,)))
    assert made.decision == "do-not-ship"
    assert any("embedding table" in line for line in made.advice)


def test_without_a_requirement_there_is_no_decision():
    made = decide(Contender("a", 10, 0.0, (), None, 0.0, 0.0))
    assert (made.decision, made.student) == (None, None)


def test_where_nothing_is_required_of_quality_the_smallest_ships_and_it_is_said():
    fast = at_least("speedup", 4, Interval(9, 8, 10, 5), unit="times")
    made = decide(Contender("a", 10, 0.0, (fast,), None, 0.0, 0.0), Contender("b", 5, 0.0, (fast,), None, 0.0, 0.0))
    assert (made.decision, made.student) == ("ship", "b")
    assert "nothing is required of quality" in made.advice[0]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(BOUNDS)), st.booleans(), st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=6))
def test_whatever_the_students_the_rules_hold(made):
    students = [student(str(i), s, drop=d / 100, size=z, fixed=(SIZE,) if out else ()) for i, (s, out, d, z) in enumerate(made)]
    verdict = decide(*students)
    tested = [o for o in verdict.outcomes if o.tested]
    assert all(o.checks[0].status == "pass" for o in tested[:-1])  # the sequence went on only after a pass
    assert (verdict.decision == "ship") == any(o.meets for o in verdict.outcomes) == (verdict.student is not None)
    assert (verdict.decision == "do-not-ship") == all(o.meets is False for o in verdict.outcomes)
    assert all(o.meets is False for o in verdict.outcomes if any(c.status == "fail" for c in o.checks))
    assert len(verdict.reasons) == len(students)
    json.dumps(asdict(verdict), allow_nan=False)


# ----------------------------------------------------------------------------------------------------------- rows and words
def real(validation: Rows, test: Rows, *, name="half", fixed=(), required=None, metric=None):
    asked = required or Requirement(quality=Quality(max_drop=0.02))
    return contender(name=name, size_bytes=9_000_000, fixed=fixed, required=asked, metric=metric or Accuracy(2), validation=validation, test=test)


def test_an_undecided_student_is_told_how_many_rows_would_decide_at_the_next_looks_alpha():
    made = decide(real(pair(28, 22, 1000), pair(31, 19, 1000)))
    needed = rows_needed(discordance=0.05, drop=0.006, max_drop=0.02, alpha=0.005)
    assert (made.decision, made.rows_needed, made.outcomes[0].rows_needed) == ("inconclusive", needed, needed)
    assert made.reasons == [
        f"half: the drop in accuracy is 1.2 points (at most 2.5 at 96 % confidence), allowed 2: inconclusive; about {needed:,} test rows would decide"
    ]
    assert made.advice[0] == f"about {needed:,} test rows would decide in 80 % of cases; there are 1,000"
    later = decide(real(pair(28, 22, 1000), pair(31, 19, 1000)), read=Read(1, 0.04, True, booked=3))
    assert later.rows_needed == rows_needed(discordance=0.05, drop=0.006, max_drop=0.02, alpha=0.00125)


def test_no_number_of_rows_helps_where_more_than_the_allowed_drop_is_expected():
    made = decide(real(pair(60, 20, 1000), pair(31, 19, 1000)))
    assert made.rows_needed is None
    assert "no number of test rows" in made.reasons[0]


def test_rows_that_should_have_decided_are_not_asked_for_again():
    made = certify([real(pair(0, 0, 1000), pair(31, 19, 1000))], alpha=0.05, read=FIRST, test_rows=1000)
    assert made.rows_needed < 1000
    assert "fresh test rows" in made.advice[0]


def test_who_is_left_out_shows_its_untested_line():
    made = decide(real(pair(5, 5, 1000), pair(5, 5, 1000), fixed=(SIZE,)))
    line = made.outcomes[0].checks[0]
    assert (line.name, line.required, line.value, line.status, line.note) == ("quality", 0.02, None, "inconclusive", "not tested")


def test_fidelity_is_planned_and_decided_without_gold():
    validation, test = pair(15, 15, 1000), pair(20, 20, 1000)
    validation.gold[:] = test.gold[:] = -1
    one = real(validation, test, required=Requirement(fidelity=Fidelity(max_disagreement=0.05)))
    made = decide(one)
    assert one.validation_drop == 0.03
    assert made.rows_needed == rows_needed_share(share=0.03, most=0.05, alpha=0.005)
    assert "the disagreement is 4 % (at most 5.25 at 96 % confidence), allowed 5: inconclusive" in made.reasons[0]


def test_groups_call_for_more_rows():
    groups = np.arange(1000) // 10
    plain, grouped = (quality_plan(Quality(max_drop=0.02), Accuracy(2), pair(28, 22, 1000, groups=g)) for g in (None, groups))
    assert plain.rows_needed(0.04) < grouped.rows_needed(0.04)  # mistakes of one group stand together in `pair`
    assert fidelity_plan(Fidelity(max_disagreement=0.1), pair(28, 22, 1000, groups=groups)).effect > 5


@pytest.mark.parametrize(
    ("metric", "asked"),
    [
        (MacroF1(3), Quality(metric="macro_f1", max_drop=0.05)),
        (LogLoss(3), Quality(metric="log_loss", max_drop=0.1)),
        (Accuracy(3), Quality(max_relative_drop=0.05)),
    ],
)
def test_other_quantities_are_planned_from_the_spread_of_their_rows(metric, asked):
    random = np.random.default_rng(0)
    gold, teacher = noisy(random, 800, 3, 0.1)
    _, other = noisy(np.random.default_rng(5), 800, 3, 0.1)
    rows = Rows(gold, teacher, np.where(random.random(800)[:, None] < 0.97, teacher, other), None)
    plan = quality_plan(asked, metric, rows)
    assert plan.kind == "mean"
    assert plan.drop < plan.margin
    assert 10 < plan.rows_needed(0.04) < 20_000
    assert plan.rows_needed(0.04) < plan.rows_needed(0.005)


def test_without_a_row_on_validation_there_is_no_plan():
    empty = pair(0, 0, 3)
    empty.gold[:] = -1
    assert quality_plan(Quality(max_drop=0.02), Accuracy(2), empty) is None
    made = decide(real(empty, pair(31, 19, 1000)))
    assert (made.decision, made.rows_needed) == ("inconclusive", None)


def test_lines_in_words():
    assert sentence(unknown("speedup", 4, "the teacher can't be timed here")) == "speed-up: the teacher can't be timed here: inconclusive"
    fast = at_least("speedup", 4, Interval(3.1, 2.9, 3.4, 5), unit="times")
    assert sentence(fast) == "speed-up is 3.1 times (at most 3.4), required 4: fail"
    quick = at_least("speedup", 4, Interval(6.1, 5.9, 6.4, 5), unit="times")
    assert sentence(quick) == "speed-up is 6.1 times (at least 5.9), required 4: pass"
    lost = at_most("quality", 0.02, Interval(0.05, 0.031, 0.07, 900), unit="drop in macro_f1")
    assert sentence(lost, alpha=0.005) == "the drop in macro-F1 is 5 points (at least 3.1 at 99.5 % confidence), allowed 2: fail"
    few = at_most("quality", 0.02, Interval(0.0, -0.01, 0.01, 20), unit="drop in accuracy", few_groups=True)
    assert "(fewer than 30 groups" in sentence(few, alpha=0.04)
    loss = at_most("quality", 0.1, Interval(0.05, 0.01, 0.09, 900), unit="drop in log_loss")
    assert sentence(loss, alpha=0.04) == "the drop in log-loss is 0.05 (at most 0.09 at 96 % confidence), allowed 0.1: pass"


# ---------------------------------------------------------------------------------------------------------------- standing
def stand(**changed):
    return teacher_standing(**{"teacher": 0.9, "majority": 0.5, "floor": 0.8, "n": 500, "metric": "accuracy", **changed})


def test_a_good_teacher_is_fine():
    assert stand().status == "ok"
    assert stand(floor=None).status == "ok"


@pytest.mark.parametrize("teacher", [0.3, 0.5, 0.52])
def test_at_chance_is_refused(teacher):
    assert stand(teacher=teacher).status == "refuse"


def test_few_rows_refuse_only_what_is_not_even_above_chance():
    assert stand(teacher=0.65, n=20).status == "warn"
    assert stand(teacher=0.45, n=20).status == "refuse"
    assert stand(n=0).status == "warn"


def test_below_the_floor_or_saturated_is_warned_of():
    assert "below TF-IDF" in stand(teacher=0.7).message
    assert "all but certain" in stand(saturated=0.99).message


def test_other_metrics_have_their_own_chance():
    assert stand(metric="mcc", teacher=0.05, majority=0.0, floor=None).status == "refuse"
    assert stand(metric="mcc", teacher=0.4, majority=0.0, floor=None).status == "ok"
    assert stand(metric="log_loss", teacher=0.7, majority=0.69, floor=None, higher_is_better=False).status == "refuse"
    assert stand(metric="log_loss", teacher=0.3, majority=0.69, floor=0.4, higher_is_better=False).status == "ok"


def test_what_must_be_said_of_a_teacher_is_said():
    drops = {"better": Interval(-0.03, -0.05, -0.01), "luckier": Interval(-0.01, -0.03, 0.01), "worse": Interval(0.01, 0.0, 0.02)}
    lines = teacher_notes(metric="accuracy", saturated=0.99, drops=drops, behind_floor=True, behind_control={"worse": True, "better": False})
    assert len(lines) == 5
    assert "one-hot" in lines[0]
    assert "below TF-IDF" in lines[1]
    assert "better is better than its teacher" in lines[2]
    assert "luckier did better" in lines[3]
    assert lines[4].startswith("worse is not shown to be better than the same student trained on labels alone")
    assert teacher_notes(metric="accuracy", saturated=0.1, drops={"worse": drops["worse"]}) == []


@pytest.mark.parametrize(
    ("floor", "control", "said"),
    [
        (None, None, []), (Interval(0.03, 0.01, 0.05, 400), Interval(0.02, 0.001, 0.04, 400), []),
        (Interval(-0.03, -0.05, -0.01, 400), None, ["TF-IDF with a linear model on the gold rows is better than half in accuracy: ship that"]),
        (Interval(0.0, -0.02, 0.02, 400), None, ["not shown to be better in accuracy than TF-IDF"]),
        (Interval(0.03, 0.01, 0.05, 400), Interval(-0.03, -0.05, -0.01, 400), ["the same student is better than half in accuracy: ship that (gain -3 points"]),
        (Interval(0.0, -1.0, 1.0, 0), Interval(0.0, -0.01, 0.01, 400), ["the teacher may not be needed for it"]),
    ],
)  # fmt: skip
def test_a_student_that_ships_beside_something_cheaper_and_as_good_is_cautioned(floor, control, said):
    lines = cautions("half", "accuracy", floor=floor, control=control)
    assert len(lines) == len(said)
    for line, words in zip(lines, said):
        assert line.startswith("before you ship: ")
        assert words in line

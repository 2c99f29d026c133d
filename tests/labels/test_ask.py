from __future__ import annotations

import time

import numpy as np
import pytest

from potstill.errors import BudgetError, PotstillError, StoreError, TeacherError
from potstill.labels import Account, LabelStore, ask
from potstill.labels.entries import Spent
from potstill.records import Answered, Example, Failed, Limits, Refused, Usage, Want
from tests.labels.fakes import HIDDEN, LOGPROBS, Fake, examples, hidden, logprobs


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels") as store:
        yield store


def asks(store, teacher, rows, wants=(LOGPROBS,), *, batch_size=256, **account):
    return ask(teacher, rows, list(wants), Account(store, **account), batch_size=batch_size)


def test_answers_are_bit_exact_and_in_the_order_asked_for(store):
    rows = examples(40)
    answers = asks(store, Fake(), rows, [LOGPROBS, HIDDEN], batch_size=16)
    ids = [row.id for row in rows]
    assert answers.array(ids, LOGPROBS).dtype == np.float32
    assert np.array_equal(answers.array(ids, LOGPROBS), np.concatenate([logprobs(row) for row in rows]))
    ragged = answers.arrays(ids[::-1], HIDDEN)
    assert all(a.dtype == np.float16 and np.array_equal(a, hidden(row)) for a, row in zip(ragged, rows[::-1]))
    assert set(answers.of(ids[3]).arrays) == {LOGPROBS, HIDDEN}
    assert answers.usage == Usage(teacher_calls=40, usd=0.08)
    assert store.index.spent().calls == 40


def test_what_is_held_is_not_asked_again_by_another_store_object(store, tmp_path):
    rows = examples(30)
    asks(store, Fake(), rows)
    teacher = Fake()
    with LabelStore(tmp_path / "labels") as second:
        answers = asks(second, teacher, rows)
        assert answers.usage == Usage(cached_calls=30)
        assert teacher.asked == []
        assert np.array_equal(answers.array([rows[7].id], LOGPROBS), logprobs(rows[7]))


def test_a_new_want_asks_only_for_itself(store):
    rows = examples(5)
    asks(store, Fake(), rows)
    seen = []

    class Spy(Fake):
        def answer(self, examples, wants):
            seen.append(tuple(wants))
            return super().answer(examples, wants)

    answers = asks(store, Spy(), rows, [LOGPROBS, HIDDEN])
    assert seen == [(HIDDEN,)]
    assert answers.usage.teacher_calls == 5


def test_equal_requests_are_asked_once(store):
    row = Example.make({"text": "same"}, place="a:1")
    other = Example.make({"text": "same"}, place="a:2")
    teacher = Fake()
    answers = asks(store, teacher, [row, other, row])
    assert len(teacher.asked) == 1
    assert answers.counts == {"answered": 3, "refused": 0, "failed": 0}


def test_examples_with_one_request_share_an_answer(store):
    class Cut(Fake):
        def request(self, example):
            return str(example.fields["text"])[:4].encode()

    teacher = Cut()
    rows = [Example.make({"text": "text one"}), Example.make({"text": "text two"})]
    answers = asks(store, teacher, rows)
    assert len(teacher.asked) == 1
    assert np.array_equal(*(answers.array([row.id], LOGPROBS) for row in rows))


def test_a_shift_moves_the_log_probabilities_that_come_out_and_no_stored_one(store):
    rows = examples(3)
    ids = [row.id for row in rows]
    answers = asks(store, Fake(("b", "a")), rows)
    before, shift = answers.array(ids, LOGPROBS), np.array([1.0, -1.0])
    moved = np.exp(answers.shifted(shift).array(ids, LOGPROBS))
    np.testing.assert_allclose(moved, np.exp(before + shift) / np.exp(before + shift).sum(axis=1, keepdims=True), rtol=1e-6)
    np.testing.assert_array_equal(asks(store, Fake(("b", "a")), rows).array(ids, LOGPROBS), before)


def test_refusals_are_kept_and_failures_asked_again(store):
    rows = examples(4)
    says = {"text number 1": Refused("will not"), "text number 2": Failed("timeout")}
    answers = asks(store, Fake(says=says), rows)
    assert answers.counts == {"answered": 2, "refused": 1, "failed": 1}
    assert answers.of(rows[1].id) == Refused("will not")
    assert answers.of(rows[2].id) == Failed("timeout")
    assert answers.answered([row.id for row in rows]) == [rows[0].id, rows[3].id]
    with pytest.raises(PotstillError, match="will not"):
        answers.array([row.id for row in rows], LOGPROBS)
    again = Fake()
    answers = asks(store, again, rows)
    assert again.asked == [rows[2].id]
    assert answers.counts == {"answered": 3, "refused": 1, "failed": 0}


def test_a_failure_that_is_remembered_is_neither_asked_nor_paid_again(store):
    rows, failed = examples(4), {}
    first = asks(store, Fake(says={"text number 2": Failed("timeout")}), rows, failed=failed)
    again = Fake()
    answers = asks(store, again, rows, failed=failed)
    assert again.asked == []
    assert (first.usage.teacher_calls, answers.usage) == (4, Usage(cached_calls=3))
    assert answers.counts == {"answered": 3, "refused": 0, "failed": 1}
    assert answers.of(rows[2].id) == Failed("timeout")


def test_numbers_that_are_none_are_failures_and_wrong_shapes_are_faults(store):
    rows = examples(2)
    nan = Answered({LOGPROBS: np.array([[np.nan, 0.0]], np.float32)})
    assert asks(store, Fake(says={"text number 0": nan}), rows).counts["failed"] == 1
    with pytest.raises(PotstillError, match="shape"):
        asks(store, Fake(says={"text number 0": Answered({LOGPROBS: np.zeros((1, 3), np.float32)})}), rows)
    with pytest.raises(PotstillError, match="lacks"):
        asks(store, Fake(says={"text number 0": Answered({})}), rows)


def test_what_came_before_the_teacher_broke_is_kept(store):
    class Breaks(Fake):
        def answer(self, examples, wants):
            for n, pair in enumerate(super().answer(examples, wants)):
                if n == 6:
                    raise KeyboardInterrupt
                yield pair

    rows = examples(10)
    with pytest.raises(KeyboardInterrupt):
        asks(store, Breaks(), rows)
    answers = asks(store, Fake(), rows)
    assert answers.usage == Usage(teacher_calls=4, cached_calls=6, possibly_paid=4, usd=0.008)
    assert store.spent("") == Spent(calls=10, possibly_paid=4, usd=pytest.approx(0.02), possibly_usd=pytest.approx(0.008))


def test_offline_asks_nothing(store):
    rows = examples(3)
    asks(store, Fake(), rows[:2])
    teacher = Fake()
    with pytest.raises(StoreError, match="1 of 3 answers are not in the store"):
        asks(store, teacher, rows, offline=True)
    assert teacher.asked == []
    assert asks(store, teacher, rows[:2], offline=True).counts["answered"] == 2


def test_a_want_that_is_not_offered_is_refused_before_anything_is_asked(store):
    teacher = Fake()
    with pytest.raises(TeacherError, match="vector"):
        asks(store, teacher, examples(2), [Want("vector")])
    assert teacher.asked == []


def test_a_teacher_that_answers_out_of_turn_is_a_fault(store):
    class Odd(Fake):
        def answer(self, examples, wants):
            yield from [("other", Failed("x"))]

    with pytest.raises(PotstillError, match="not asked"):
        asks(store, Odd(), examples(2))


def test_no_rows_give_empty_answers(store):
    answers = asks(store, Fake(), [])
    assert answers.counts == {"answered": 0, "refused": 0, "failed": 0}
    assert answers.array([], LOGPROBS).shape == (0, 2)
    with pytest.raises(PotstillError, match="not among"):
        answers.of("unknown")


def test_ten_thousand_rows_are_read_quickly(tmp_path):
    rows = examples(10_000)
    ids = [row.id for row in rows]
    teacher = Fake()
    with LabelStore(tmp_path / "labels") as store:
        asks(store, teacher, rows)
    with LabelStore(tmp_path / "labels") as store:
        answers = asks(store, teacher, rows)
        began = time.perf_counter()
        array = answers.array(ids, LOGPROBS)
        took = time.perf_counter() - began
    assert array.shape == (10_000, 2)
    assert took < 1.5  # 0.1 s measured on a quiet core; the suite shares its cores


def test_a_budget_is_never_passed_and_what_was_paid_for_is_kept(store):
    rows, teacher = examples(20), Fake()
    with pytest.raises(BudgetError, match="8 of 20 answers are there") as caught:
        asks(store, teacher, rows, batch_size=5, limits=Limits(calls=8), run="one")
    assert caught.value.exit_code == 2
    assert len(teacher.asked) == 8 == store.spent("one").calls
    answers = asks(store, teacher, rows, batch_size=5, limits=Limits(calls=20), run="one")
    assert (answers.usage.teacher_calls, answers.usage.cached_calls) == (12, 8)
    assert len(teacher.asked) == 20 == len(set(teacher.asked))


def test_a_used_up_budget_costs_nothing_where_all_answers_are_held(store):
    asks(store, Fake(), examples(6))
    assert asks(store, Fake(), examples(6), limits=Limits(calls=0)).usage == Usage(cached_calls=6)

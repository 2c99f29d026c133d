"""Work in a process of its own: results, errors and last words come back."""

from __future__ import annotations

import os

import pytest

from potstill import errors
from potstill.engines import engine

REF = "tests.measuring.fakes:{}"


def test_a_result_comes_back_whatever_is_printed():
    found = engine("local").run(REF.format("doubled"), {"value": 4}, threads=3)
    assert (found["twice"], found["threads"]) == (8, "3")
    assert found["process"] != os.getpid()


def test_map_keeps_the_order():
    found = engine("local").map(REF.format("doubled"), [{"value": 1}, {"value": 2}])
    assert [one["twice"] for one in found] == [2, 4]


def test_an_error_that_a_person_can_mend_is_the_same_here():
    with pytest.raises(errors.TeacherError) as caught:
        engine("local").run(REF.format("breaks"), {"how": "user"})
    assert (caught.value.message, caught.value.place, caught.value.remedy) == ("it is not there", "here", "look there")


def test_an_error_with_problems_becomes_a_user_error():
    with pytest.raises(errors.UserError, match="two things"):
        engine("local").run(REF.format("breaks"), {"how": "problems"})


@pytest.mark.parametrize(("how", "words"), [("raise", "something of ours"), ("exit", r"failed \(9\)")])
def test_a_fault_brings_the_last_words(how, words):
    with pytest.raises(errors.PotstillError, match=words) as caught:
        engine("local").run(REF.format("breaks"), {"how": how})
    assert not isinstance(caught.value, errors.UserError)


def test_a_ref_that_is_not_there_names_the_nearest():
    with pytest.raises(errors.UserError, match="did you mean 'doubled'"):
        engine("local").run(REF.format("doubledd"), {})

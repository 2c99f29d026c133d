"""The section of what is replaced before rows are sent, and the field for rows that talk to a model."""

from __future__ import annotations

import pytest

from potstill.errors import RecipeError
from potstill.recipe import dump, load
from tests.recipe.test_endpoint import STUDENTS, TEACHER


@pytest.fixture
def recipe(folder, base, write):
    def loaded(privacy=None, **change):
        teacher = {**TEACHER, **({} if privacy is None else {"privacy": privacy}), **change.pop("teacher", {})}
        return load(write({**base, "students": STUDENTS, "teacher": teacher, **change}))

    return loaded


def test_it_is_off_unless_it_is_there(recipe):
    assert recipe().teacher.privacy is None
    assert recipe().replace == []
    found = recipe({})
    assert found.teacher.privacy.replace == ["email", "iban", "ip", "card", "phone"]
    assert found.replace == []
    assert [rule["name"] for rule in recipe({"replace": ["ip"], "students": True}).replace] == ["ip", "ip"]


def test_it_comes_back_from_the_run_folder(recipe, tmp_path):
    found = recipe({"rules": {"ticket": "T-\\d+"}, "key": "env:K", "students": True}, instructions="drop")
    assert load(dump(found)) == found


@pytest.mark.parametrize(
    ("privacy", "words"),
    [
        ({"replace": []}, "the list is empty"),
        ({"replace": ["names"]}, "privacy.replace"),
        ({"rules": {"a b": "x"}}, "can't stand in a text"),
        ({"rules": {"x": "("}}, "no regular expression"),
        ({"rules": {"x": "y*"}}, "finds a text in which there is nothing"),
        ({"rules": {"boss": "Jane Doe"}, "students": True}, "the bundle would hold 'Jane Doe'"),
        ({"key": "my secret"}, "a key is named, never written"),
    ],
)
def test_what_can_not_be(recipe, privacy, words):
    with pytest.raises(RecipeError, match=words):
        recipe(privacy)


def test_rows_that_leave_the_house_as_they_are_are_a_warning(recipe):
    away = {"url": "https://api.example.com/v1"}
    assert any("all rows go to api.example.com as they are" in words for words in recipe(teacher=away).warnings())
    assert not any("as they are" in words for words in [*recipe().warnings(), *recipe({}, teacher=away).warnings()])


def test_rows_that_talk_to_a_model_are_looked_for_where_one_is_asked(recipe, base, write, folder):
    assert recipe().looks_for_instructions == "report"
    assert recipe(instructions="ignore").looks_for_instructions == "ignore"
    assert load(write(base)).looks_for_instructions == "ignore"
    assert load(write({**base, "instructions": "drop"})).looks_for_instructions == "drop"

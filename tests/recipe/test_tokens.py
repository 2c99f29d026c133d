"""How a language model's tokens are kept: in a recipe of that task alone, and nothing of it in what other recipes come to."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from potstill.recipe.endpoint import EndpointTeacher
from potstill.recipe.language import Chat, Tokens
from potstill.recipe.recipe import Recipe
from potstill.recipe.teacher import ModelTeacher


def test_a_recipe_that_says_nothing_of_it_is_written_as_before():
    assert not {"chat", "tokens"} & set(ModelTeacher(model="m").model_dump(mode="json"))
    assert not {"chat", "tokenizer", "max_length"} & set(EndpointTeacher(url="http://127.0.0.1:1/v1", model="m").model_dump(mode="json"))


def test_what_is_said_comes_back():
    spec = ModelTeacher(model="m", tokens=Tokens(way="sparse", k_max=64), chat=Chat(options={"enable_thinking": False}))
    told = spec.model_dump(mode="json")
    assert told["tokens"]["k_max"] == 64
    assert ModelTeacher.model_validate(told) == spec


@pytest.mark.parametrize("wrong", [{"way": "dense"}, {"mass": 0.0}, {"mass": 1.5}, {"floor": 1.0}, {"k_max": 0}, {"draws": 0}, {"limit": 0.0}, {"top": 3}])
def test_what_can_not_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        Tokens(**wrong)


@pytest.mark.parametrize(("section", "said"), [("tokens", {"way": "hidden"}), ("chat", {"every_turn": True})])
def test_another_task_has_no_use_for_it(base, section, said):
    base["teacher"][section] = said
    with pytest.raises(ValidationError, match=f"teacher.{section} has no effect"):
        Recipe.model_validate(base)
    base["teacher"][section] = {}  # nothing said
    Recipe.model_validate(base)


@pytest.mark.parametrize("said", [{"tokenizer": "model"}, {"max_length": 64}, {"chat": {"every_turn": True}}])
def test_nor_of_an_endpoint_that_reads_texts(base, said):
    base["teacher"] = {"kind": "endpoint", "url": "http://127.0.0.1:1/v1", "model": "m", "output_license": "mit", **said}
    base["students"] = [{"name": "static", "kind": "static", "from": "model"}]
    with pytest.raises(ValidationError, match=f"teacher.{next(iter(said))} has no effect"):
        Recipe.model_validate(base)


def writing(base, **teacher):
    """Return a recipe of texts whose teacher stands behind a server."""
    section = {"kind": "endpoint", "url": "https://example.com/v1", "model": "m", "output_license": "mit", "tokenizer": "model", **teacher}
    student = {"name": "small", "kind": "transformer", "from": "model", "layers": 1}
    return {**base, "task": "text-generation", "teacher": section, "students": [student]}


def test_a_server_is_asked_for_completions_as_long_as_a_model_s_rows(base):
    recipe = Recipe.model_validate(writing(base))
    assert (recipe.teacher.api, recipe.teacher.max_length) == ("completion", 512)
    assert recipe.looks_for_instructions == "ignore"
    assert any("all rows go to example.com as they are: in this task" in words for words in recipe.warnings())
    assert Recipe.model_validate(recipe.model_dump(mode="json", by_alias=True)) == recipe


@pytest.mark.parametrize(
    ("teacher", "told"),
    [
        ({"tokenizer": None}, "texts are sent as ids"),
        ({"api": "chat"}, "a chat does not"),
        ({"privacy": {}}, "in the data"),
        ({"batch": {}}, "not read token by token"),
        ({"calibration": "content_free"}, "teacher.calibration has no effect"),
        ({"words": {"a": ["b"]}}, "teacher.words has no effect"),
        ({"seed": 3}, "teacher.seed has no effect"),
    ],
)
def test_of_a_server_s_options_those_of_labels_are_refused(base, teacher, told):
    with pytest.raises(ValidationError, match=told):
        Recipe.model_validate(writing(base, **teacher))


@pytest.mark.parametrize("source", ["teacher", "scratch"])
def test_a_student_of_a_server_s_model_starts_from_a_folder(base, source):
    base = writing(base)
    base["students"][0]["from"] = source
    with pytest.raises(ValidationError, match="a language model that has the teacher's tokenizer: from: path"):
        Recipe.model_validate(base)

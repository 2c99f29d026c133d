"""Trap 51: a key that is ignored. Unknown keys are errors, at any depth; known keys are read; a term that nobody can use is an error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

import potstill
from potstill.errors import RecipeError
from potstill.recipe import load
from potstill.recipe.problems import _models
from potstill.recipe.recipe import Recipe

SOURCE = Path(potstill.__file__).parent
FULL = {
    "task": "text-classification",
    "name": "tickets",
    "data": {"train": "train.jsonl", "unlabeled": "train.jsonl", "split": {}, "limit": {}},
    "teacher": {"kind": "model", "model": "model", "adapt": {"how": "head"}},
    "students": [
        {"name": "a", "kind": "transformer", "layers": 3},
        {"name": "b", "kind": "static"},
        {"name": "c", "kind": "ngram", "objectives": [{"kind": "logits"}]},
    ],
    "objectives": [{"kind": "logits"}, {"kind": "hidden"}, {"kind": "hard"}],
    "rounds": {},
    "requirement": {"quality": {"max_drop": 0.02}, "size_mb": 25},
    "export": {},
    "training": {},
}


def sections(value, path=()):
    """Every mapping of ``value``, by path; data.columns and labels hold words of the user's own."""
    if isinstance(value, dict):
        yield path
        for key, below in value.items():
            yield from sections(below, (*path, key))
    if isinstance(value, list):
        for place, below in enumerate(value):
            yield from sections(below, (*path, place))


def changed(value, path, key):
    if not path:
        return {**value, key: 1}
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[path[0]] = changed(value[path[0]], path[1:], key)
    return copy


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "train.jsonl").write_text("{}")
    return tmp_path


def test_trap_51_an_unknown_key_is_an_error_in_every_section(folder):
    assert load(FULL, base=folder)
    paths = list(sections(FULL))
    assert len(paths) == 18
    for path in paths:
        with pytest.raises(RecipeError) as caught:
            load(changed(FULL, path, "temperatur"), base=folder)
        assert any("unknown key 'temperatur'" in str(problem) for problem in caught.value.problems), path


def test_trap_51_every_key_of_the_recipe_is_read_by_some_stage():
    words = set()
    for path in SOURCE.rglob("*.py"):
        if "recipe" not in path.relative_to(SOURCE).parts and "cli" not in path.relative_to(SOURCE).parts:
            words |= set(re.findall(r"\w+", path.read_text("utf-8")))
    assert not sorted(f"{section}.{key}" for section, key in keys(Recipe) if key not in words)


def keys(model: type[BaseModel]):
    for name, info in model.model_fields.items():
        yield model.__name__, name
        for below in _models(info.annotation):
            yield from keys(below)


@pytest.mark.parametrize("students", [[{"name": "n", "kind": "ngram"}], [{"name": "n", "kind": "ngram"}, {"name": "s", "kind": "static"}]])
def test_trap_51_a_term_that_no_student_can_use_is_an_error(folder, students):
    with pytest.raises(RecipeError, match="no student can use 'hidden'"):
        load({**FULL, "students": students}, base=folder)


def test_trap_51_a_term_of_no_weight_is_an_error(folder):
    with pytest.raises(RecipeError, match="must be more than 0"):
        load({**FULL, "objectives": [{"kind": "logits"}, {"kind": "hard", "weight": 0.0}]}, base=folder)

"""The section ``generation``: what it takes, what it costs where it is silent, and what it refuses at the door."""

from __future__ import annotations

import json

import jsonschema
import pytest

from potstill.errors import RecipeError
from potstill.recipe import dump, load
from potstill.recipe.schema import schema


@pytest.fixture
def writing(tmp_path):
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "config.json").write_text("{}")
    (tmp_path / "train.jsonl").write_text("{}\n")
    return tmp_path, {
        "task": "text-generation", "name": "x", "data": {"train": "train.jsonl"},
        "teacher": {"kind": "model", "model": "teacher", "output_license": "mit"},
        "students": [{"name": "half", "kind": "transformer", "from": "teacher", "layers": 1}],
    }  # fmt: skip


def test_a_recipe_that_asks_for_no_answers_says_nothing_of_them(writing):
    folder, base = writing
    recipe = load(base, base=folder)
    assert recipe.generation.metrics == []
    assert "generation" not in json.loads(recipe.model_dump_json())


def test_a_bare_name_is_a_metric_with_its_defaults_and_all_of_it_is_written_down(writing):
    folder, base = writing
    metrics = ["exact_match", {"kind": "choice", "length_normalized": True}, "rouge_l", {"kind": "callable", "function": "my.grades:grade", "version": "1"}]
    given = {**base, "data": {**base["data"], "columns": {"options": "choices"}}, "generation": {"metrics": metrics, "max_new_tokens": 12, "rows": 50}}
    given["requirement"] = {"quality": {"metric": "choice", "max_drop": 0.05}}
    jsonschema.validate(given, schema())
    recipe = load(given, base=folder)
    assert recipe.generation.names == ["exact_match", "choice", "rouge_l", "callable"]
    assert recipe.generation.of("callable").folder == str(folder)
    assert recipe.generation.of("exact_match").extract is None
    assert load(dump(recipe)) == recipe
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**base, "generation": {"metrics": ["callable"]}}, schema())


@pytest.mark.parametrize(
    ("change", "place", "says", "remedy"),
    [
        ({"generation": {"metrics": ["rouge_l"], "rows": 0}}, "generation.rows", "0 must be at least 1", ""),
        ({"generation": {"metrics": ["exact"]}}, "generation.metrics[0].kind", "'exact' is not known here", "did you mean 'exact_match'?"),
        ({"generation": {"metrics": ["choice"]}}, "data.columns", "needs the options of each row", "columns: {options: choices}"),
        ({"generation": {"metrics": [{"kind": "callable", "version": 1}]}}, "generation.metrics[0].function", "'function' is missing", "function: my_module:grade"),
        ({"generation": {"metrics": [{"kind": "exact_match", "extract": "("}]}}, "generation.metrics[0].extract", "no regular expression", "single quotes"),
        ({"generation": {"metrics": ["rouge_l", "rouge_l"]}}, "generation.metrics[1]", "two metrics of kind 'rouge_l'", "keep one"),
        ({"generation": {"max_new_tokens": 5}}, "generation", "nothing is written without a metric", "metrics: [exact_match]"),
        ({"requirement": {"quality": {"metric": "rouge_l", "max_drop": 0.1}}}, "requirement.quality.metric", "nobody writes", "{metrics: [rouge_l]}"),
        ({"data": {"train": "train.jsonl", "columns": {"options": "o"}}}, "data.columns.options", "no metric looks at options", "{metrics: [choice]}"),
        ({"data": {"train": "train.jsonl", "columns": {"text": "t"}}, "generation": {"metrics": ["rouge_l"]}}, "generation.metrics", "plain text", "prompt"),
        (
            {"generation": {"metrics": [{"kind": "callable", "function": "a:b", "version": 1, "folder": "nowhere"}]}},
            "generation.metrics[0].folder", "there is no folder 'nowhere'", "teacher",
        ),
    ],
)  # fmt: skip
def test_what_can_not_be_judged_is_refused_with_its_place_and_remedy(writing, change, place, says, remedy):
    folder, base = writing
    with pytest.raises(RecipeError) as met:
        load({**base, **change}, base=folder)
    (problem,) = met.value.problems
    assert place in problem.place
    assert says in problem.message
    assert remedy in problem.remedy


def test_labels_are_not_judged_by_written_answers(folder, base, write):
    given = {**base, "generation": {"metrics": ["exact_match"]}, "requirement": {"quality": {"metric": "exact_match", "max_drop": 0.1}}}
    with pytest.raises(RecipeError) as met:
        load(given, base=folder)
    said = [problem.message for problem in met.value.problems]
    assert said == ["'exact_match' does not judge one label a row", "text-classification writes no answers"]

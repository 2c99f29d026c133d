"""The JSON schema accepts what loads; the template of ``init`` loads."""

from __future__ import annotations

import re

import jsonschema
import pytest
import yaml

from potstill.errors import UserError
from potstill.recipe import load
from potstill.recipe.init import template
from potstill.recipe.schema import schema


def test_the_schema_is_one_and_accepts_what_loads(base):
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    for change in (
        {},
        {"rounds": 3},
        {"rounds": {"count": 2}},
        {"students": [{"name": "h", "kind": "transformer", "from": "teacher", "layers": [0, 2]}]},
    ):
        jsonschema.validate({**base, **change}, made)


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "ray"},
        {"nmae": 1},
        {"students": []},
        {"teacher": {"model": "m"}},
        {"students": [{"name": "a", "kind": "ngram", "layers": 3}]},
    ],
)
def test_the_schema_refuses_what_does_not_load(base, change):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**base, **change}, schema())


def test_the_template_loads_as_it_is(folder, write):
    recipe = load(write(template(model="model")))
    assert [student.kind for student in recipe.students] == ["transformer", "static", "ngram"]
    assert recipe.requirement.quality.max_drop == 0.02


def test_every_commented_key_of_the_template_loads_too(folder, write):
    text = template(model="model", unlabeled="pool.jsonl").replace("calibration.jsonl", "dev.jsonl")
    loud = []
    for line in text.splitlines():
        found = re.fullmatch(r"(\s*)# (\s*(?:- \{|[a-z_0-9]+:).*)", line)
        loud.append(found[1] + found[2] if found and "fidelity" not in line else line)
    text = "\n".join(loud)
    assert len(yaml.safe_load(text)) > 9
    recipe = load(write(text))
    assert recipe.threads == 2
    assert len(recipe.objectives) == 3
    assert recipe.data.validation
    assert recipe.data.slices == ["source"]
    assert recipe.training.batch_size == 32
    assert recipe.requirement.max_cost_usd == 20


def test_names_that_yaml_would_misread_are_quoted(folder, write):
    (folder / "my: rows #1.jsonl").write_text("{}")
    recipe = load(write(template(model="model", train="my: rows #1.jsonl", columns={"text": "no", "label": "la: bel"})))
    assert recipe.data.train.endswith("my: rows #1.jsonl")
    assert recipe.data.columns["label"] == "la: bel"


def test_unknown_tasks_are_refused():
    with pytest.raises(UserError, match="text-classification"):
        template("text-clasification")

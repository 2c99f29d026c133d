"""The guide's recipe loads."""

from __future__ import annotations

import re
from pathlib import Path

from potstill.recipe import load
from potstill.records import Head
from potstill.teachers import build

GUIDE = Path(__file__).parents[3] / "docs" / "endpoint.md"


def test_the_guides_recipe_loads_and_its_prompt_is_one(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    for name in ("train", "more"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "hello", "label": "greeting"}\n')
    block, private = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(block)
    recipe = load(tmp_path / "recipe.yaml")
    (tmp_path / "recipe.yaml").write_text(block.replace("teacher:\n", f"teacher:\n{private}"))
    assert load(tmp_path / "recipe.yaml").teacher.privacy.students
    made = build(recipe.teacher, Head("classes", ("refund", "delivery")), shots=[({"text": "where is it"}, "delivery")])
    assert made.template.instruction == "Each message to our support has one of these intents: refund, delivery."
    assert made.way.body(made.template, made.shots, {"text": "give me my money"})["prompt"].endswith("Message: give me my money\nIntent:")


def test_every_key_that_the_guide_names_is_one():
    names = set(re.findall(r"`(\w+)(?::[^`]*)?`", GUIDE.read_text("utf-8")))
    from potstill.recipe.endpoint import EndpointTeacher, Prompt

    keys = set(EndpointTeacher.model_fields) | set(Prompt.model_fields)
    known = keys | {"endpoint", "first_token", "echo", "max_cost_usd"}
    assert {name for name in names if "_" in name} <= known

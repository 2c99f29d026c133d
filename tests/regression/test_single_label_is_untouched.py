"""Any number of labels came later: data of one label a row kept its ids, digests and fingerprints, so that no stage is made anew."""

from __future__ import annotations

import json

from potstill import steps, storage
from potstill.recipe import load
from potstill.records import Example, Head, rows_digest
from potstill.runlog import RunLog
from potstill.steps.classifying import control_terms
from potstill.workspace import open_workspace

RECIPE = """
task: text-classification
name: r
data: {train: train.jsonl, near_duplicates: 0}
teacher: {kind: model, model: model}
students: [{name: ngram, kind: ngram}]
requirement: {quality: {max_drop: 0.02}}
"""


def test_digests_and_fingerprints_are_those_from_before(tmp_path):
    """The values were written down from the version before; a change here costs every user's caches."""
    rows = [{"text": f"text number {i} {'x' * (i % 7)}", "label": "ab"[i % 2]} for i in range(60)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe = load(tmp_path / "r.yaml")
    with open_workspace(recipe, tmp_path / "run", RunLog(), offline=False, fresh=False) as work:
        data = steps.prepare(work)
    assert data.head == Head("classes", ("a", "b"))
    assert data.head.named == ("a", "b")
    assert data.stage.fingerprint == "c9d371b2b9f78c5c4c669ac5917987b8b649e9f71881004942ea37427aad54aa"
    assert data.train.digest == "6fbf14b80c8cf35a05f408be71d20c863f328182a368fbd915bbccb2a7a1e97d"
    assert data.test.digest == "b4808bc040bce151e8e1affc284b252e353174781b55bf7e02124a8cd479ea32"
    terms = [term.model_dump(mode="json") for term in recipe.objectives_of(recipe.students[0])]
    assert storage.digest(terms) == "9b53797d5535ee9cfc875a6cbe0a90c7eced0f1388341466e17bb072c2c04b71"
    assert control_terms(terms) == ({"kind": "hard", "weight": 1.0},)
    assert storage.digest(recipe.requirement.model_dump(mode="json")) == "628bf1326cea63722b5433feb8d7f7592715c92a4e92004f24179d6d6a0b53f9"
    examples = [Example.make({"text": "a"}, gold="x"), Example.make({"text": "b"})]
    assert rows_digest(examples) == "c4979a874e1fa1413f5fbd11a8ca6fae9c3c4f73beb4a9333a47d71f2dfcb4df"

"""The section ``augment``: what it knows, what it refuses, and where it says so."""

from __future__ import annotations

import json

import jsonschema
import pytest

from potstill.errors import RecipeError
from potstill.recipe import dump, load
from potstill.recipe.schema import schema

KINDS = [{"kind": "neighbours", "copies": 2}, {"kind": "deletion", "share": 0.3}]


def refused(path, *overrides):
    with pytest.raises(RecipeError) as caught:
        load(path, overrides)
    return {problem.place: (problem.message, problem.remedy) for problem in caught.value.problems}


def test_it_is_off_unless_it_is_asked_for(base, write):
    assert load(write(base)).augment == []


def test_each_kind_has_its_defaults_and_comes_back_from_yaml(base, write, folder):
    (folder / "mlm").mkdir()
    (folder / "mlm" / "config.json").write_text(json.dumps({"architectures": ["BertForMaskedLM"]}))
    recipe = load(write({**base, "augment": [*KINDS, {"kind": "masked", "from": "mlm"}]}))
    neighbours, deletion, masked = recipe.augment
    assert (neighbours.copies, neighbours.source, neighbours.top_k, neighbours.rows) == (2, "teacher", 15, "all")
    assert (deletion.share, deletion.copies) == (0.3, 1)
    assert (masked.share, masked.source) == (0.4, str(folder / "mlm"))
    assert load(dump(recipe)) == recipe
    jsonschema.validate({**base, "augment": KINDS}, schema())


def test_set_reaches_a_kind_by_its_name(base, write):
    assert load(write({**base, "augment": KINDS}), ["augment.deletion.copies=3"]).augment[1].copies == 3


def test_a_model_without_a_masked_head_is_refused_before_anything_is_spent(base, write, folder):
    (folder / "model" / "config.json").write_text(json.dumps({"architectures": ["BertModel"], "num_hidden_layers": 6}))
    found = refused(write({**base, "augment": [{"kind": "masked"}]}))
    ((place, (message, remedy)),) = found.items()
    assert place.endswith("augment[0]")
    assert message == "the model has no masked-LM head: it is a BertModel"
    assert "neighbours" in remedy
    load(write({**base, "augment": [{"kind": "neighbours"}]}))
    (folder / "model" / "config.json").write_text("{}")  # it does not say: whoever opens it will
    load(write({**base, "augment": [{"kind": "masked"}]}))


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ([{"kind": "backtranslation"}], "'backtranslation' is not known here"),
        ([{"kind": "deletion"}, {"kind": "deletion"}], "there are two augmentations of kind 'deletion'"),
        ([{"kind": "deletion", "share": 0}], "0 must be more than 0"),
        ([{"kind": "deletion", "top_k": 3}], "unknown key 'top_k'"),
        ([{"kind": "neighbours", "copies": 0}], "0 must be at least 1"),
        ([{"kind": "deletion", "rows": "unlabeled"}], "there is no pool to make copies of"),
        ([{"kind": "neighbours", "from": "no-such-folder"}], "there is no model 'no-such-folder'"),
        ({"kind": "deletion"}, "must be a list"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(base, write, augment, message):
    found = refused(write({**base, "augment": augment}))
    assert any(message in text for text, _ in found.values()), found
    assert all("augment" in place for place in found)


@pytest.mark.parametrize("kind", ["neighbours", "deletion"])
def test_recorded_answers_hold_none_to_made_rows(base, write, kind):
    teacher = {"kind": "recorded", "path": "answers.jsonl", "output_license": "mit"}
    found = refused(write({**base, "teacher": teacher, "students": [{"name": "ngram", "kind": "ngram"}], "augment": [{"kind": kind}]}))
    assert [text for text, _ in found.values()] == ["recorded answers hold none to rows that are made"]

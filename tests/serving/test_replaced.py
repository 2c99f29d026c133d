"""A student that reads texts in which what may name a person is replaced: in training and where it is served, by rules that travel as data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from potstill.errors import BundleError
from potstill.recipe.privacy import Privacy
from potstill.redact import BUILT_IN, Redactor
from potstill.serving.preprocess import build

RULES = Redactor(None, (), BUILT_IN).as_json()
SPEC = {
    "kind": "hash", "buckets": 512, "word_ngrams": [1, 2], "char_ngrams": [3, 4], "char_weight": 1.0, "max_characters": 1000, "lowercase": True,
    "fields": ["text"], "version": 2,
}  # fmt: skip


def spec(**change):
    from potstill.serving import hashing

    return {**SPEC, "version": hashing.VERSION, **change}


def test_it_reads_the_same_text_whoever_replaced_before(tmp_path):
    made, plain = build(spec(replace=RULES), tmp_path), build(spec(), tmp_path)
    assert made.inputs == plain.inputs
    keyed = Redactor(b"some key")
    texts = ["mail a@b.de or call +49 30 901820 now", "nothing of the kind", ""]
    for text in texts:
        items = made.encode([{"text": text}, {"text": keyed(text)}])
        wanted = plain.encode([{"text": Redactor(None)(text)}])[0]
        for item in items:
            for name in made.inputs:
                np.testing.assert_array_equal(item[name], wanted[name])
    assert made.length(made.encode([{"text": "a"}])[0]) == plain.length(plain.encode([{"text": "a"}])[0])


@pytest.mark.parametrize("rules", [[{"name": "x"}], [{"name": "x", "pattern": "("}], [{"name": "x", "pattern": "y", "check": "of a newer potstill"}], [3]])
def test_rules_that_are_none_are_refused(tmp_path, rules):
    with pytest.raises(BundleError, match="rules by which texts are replaced"):
        build(spec(replace=rules), tmp_path)


def test_the_rules_of_a_recipe_are_plain_json_with_their_expressions():
    told = Privacy(rules={"ticket": "T-\\d+"}, replace=["email"], students=True).redactor(None).as_json()
    assert json.loads(json.dumps(told)) == told
    assert [rule["name"] for rule in told] == ["ticket", "email"]

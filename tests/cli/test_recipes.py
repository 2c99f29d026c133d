"""What `potstill recipes` prints and writes."""

from __future__ import annotations

import json

from potstill.recipe import load


def test_the_list_names_each_and_json_tells_all(potstill):
    shown = potstill("recipes")
    assert shown.code == 0
    assert {"static", "ngram", "distilbert"} <= {line.split()[0] for line in shown.out.splitlines()[2:]}
    rows = json.loads(potstill("recipes", "--json").out)
    assert all(row[key] for row in rows for key in ("name", "title", "source", "data", "needs", "reaches"))


def test_show_is_the_recipe_and_nothing_else(potstill):
    shown = potstill("recipes", "show", "static")
    assert shown.out.startswith("# ")
    assert "kind: static" in shown.out
    assert shown.err == ""
    assert potstill("recipes", "show", "statik").code == 2


def test_data_says_counts_source_license_and_what_is_next(potstill, tmp_path):
    made = potstill("recipes", "data", "static", "--to", tmp_path / "out", "--rows", "30")
    assert made.code == 0
    assert "train.jsonl" in made.out
    assert "30" in made.out
    assert "license: public domain" in made.err
    assert f"next: potstill run {tmp_path / 'out' / 'recipe.yaml'}" in made.err
    assert load(tmp_path / "out" / "recipe.yaml").students[0].kind == "static"


def test_a_copy_that_is_another_is_refused_at_the_edge(potstill, tmp_path):
    for name in ("TREC.train.all", "TREC.test.all"):
        (tmp_path / name).write_text("0 some text\n1 another text\n")
    refused = potstill("recipes", "data", "static", "--from", tmp_path, "--to", tmp_path / "out")
    assert refused.code == 2
    assert "the known copy c8183fd8c2a5" in refused.err
    taken = potstill("recipes", "data", "static", "--from", tmp_path, "--to", tmp_path / "out", "--unpinned")
    assert taken.code == 0
    assert "note: TREC.train.all has sha256" in taken.err

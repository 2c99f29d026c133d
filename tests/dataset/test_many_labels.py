"""The data stage where any number of labels apply: lists and text cells, the card, what is missing and what is rare."""

from __future__ import annotations

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.dataset.prepare import load, prepare
from potstill.dataset.read import read, sources
from potstill.errors import DataError
from potstill.recipe.data import Data
from potstill.runlog import RunLog
from potstill.tasks import task
from tests.dataset.help import jsonl, lines, texts

SETS = (["a"], ["b", "a"], [], ["c"])


def run(folder, said=None, **data):
    out = folder / "out"
    out.mkdir(exist_ok=True)
    spec = Data(**{"columns": {"labels": "tags"}, **data})
    log = RunLog(listeners=[] if said is None else [lambda event: said.append(event.get("text", ""))])
    prepare(spec, task("text-classification", separator=spec.separator), out, log)
    return load(out)


def rows(count, start=0, sets=SETS):
    return [{"text": text, "tags": sets[i % len(sets)]} for i, text in enumerate(texts(count, start))]


def test_gold_comes_back_as_it_was_read(tmp_path):
    found = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", rows(80)))
    assert {row.gold for row in found.train} == {("a",), ("a", "b"), (), ("c",)}
    assert found.card["labels"] == ["a", "b", "c"]
    assert found.card["has_gold"]["test"]
    assert found.train.digest == found.card["digests"]["train"]  # a tuple and the list that JSON makes of it are one


def test_a_csv_a_parquet_and_a_jsonl_give_the_same_rows(tmp_path):
    made = rows(40)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "tags"])
        writer.writerows([row["text"], "; ".join(row["tags"])] for row in made)
    pq.write_table(pa.Table.from_pylist(made, pa.schema([("text", pa.string()), ("tags", pa.list_(pa.string()))])), tmp_path / "a.parquet")
    digests = set()
    for name, more in (("a.csv", {"label_separator": ";"}), ("a.parquet", {})):
        (tmp_path / name).with_suffix("").mkdir(exist_ok=True)
        digests.add(run(tmp_path, train=str(tmp_path / name), **more).train.digest)
    digests.add(run(tmp_path, train=jsonl(tmp_path / "b.jsonl", made)).train.digest)
    assert len(digests) == 1


def test_class_names_of_datasets_lists_are_read(tmp_path):
    feature = {"names": ["joy", "anger"], "_type": "ClassLabel"}
    for kind in ([feature], {"feature": feature, "_type": "Sequence"}, {"feature": feature, "_type": "List"}):
        features = {"text": {"dtype": "string", "_type": "Value"}, "labels": kind}
        schema = pa.schema([("text", pa.string()), ("labels", pa.list_(pa.int64()))], metadata={"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(pa.Table.from_pylist([{"text": "a", "labels": [1, 0]}, {"text": "b", "labels": []}], schema), tmp_path / "a.parquet")
        (source,) = sources({"train": str(tmp_path / "a.parquet")})
        assert [row.values["labels"] for row in read(source).rows] == [["anger", "joy"], []]


def test_the_card_counts_labels_and_says_how_many_a_row_has(tmp_path):
    made = rows(40, sets=(["a"], ["a", "b"], [], ["a"]))
    card = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", made), test=jsonl(tmp_path / "t.jsonl", rows(8, 100, sets=(["a"],))),
               validation=jsonl(tmp_path / "v.jsonl", rows(8, 200, sets=(["b"],))), split={"calibration": 0.0}).card  # fmt: skip
    assert card["by_label"]["train"] == {"a": 30, "b": 10}
    assert card["missing_labels"] == {"validation": ["a"], "test": ["b"]}
    assert card["labels_per_row"] == {"mean": 1.0, "most": 2, "none": 0.25}


def test_a_label_that_training_lacks_is_named_with_its_row(tmp_path):
    with pytest.raises(DataError, match=r"1 labels of test are unknown to training: 'z' \(t.jsonl:2\)"):
        run(tmp_path, train=jsonl(tmp_path / "a.jsonl", rows(40)), test=jsonl(tmp_path / "t.jsonl", rows(4, 100, sets=(["a"], ["a", "z"]))))


def test_rows_that_repeat_another_with_other_labels_are_conflicts(tmp_path):
    made = rows(20)
    again = [{**made[0], "tags": ["new"]}, {**made[1], "tags": ["b", "a"][::-1]}]  # other labels; the same in another order
    held = {name: jsonl(tmp_path / f"{name}.jsonl", rows(8, start)) for name, start in (("test", 100), ("validation", 200), ("calibration", 300))}
    found = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", [*made, *again]), **held)
    assert [d["kind"] for d in lines(tmp_path / "out" / "duplicates.jsonl")] == ["conflict", "exact"]
    assert "new" not in found.card["labels"]


def test_what_is_no_list_is_dropped_with_its_reason(tmp_path):
    made = [*rows(60), {"text": "one more text here", "tags": None}, {"text": "and yet another one", "tags": [0, 1, 0]}]
    run(tmp_path, train=jsonl(tmp_path / "a.jsonl", made), max_dropped=0.5)
    assert sorted(row["reason"] for row in lines(tmp_path / "out" / "dropped.jsonl")) == ["a label stands twice in its row", "no labels"]


def test_the_pool_needs_no_labels(tmp_path):
    pool = [{"text": text} for text in texts(10, 300)]
    found = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", rows(60)), unlabeled=jsonl(tmp_path / "p.jsonl", pool))
    assert len(found.unlabeled) == 10
    assert all(row.gold is None for row in found.unlabeled)

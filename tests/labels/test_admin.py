from __future__ import annotations

import json
import os
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from potstill import storage
from potstill.errors import StoreError, UserError
from potstill.labels import Account, LabelStore, admin, ask
from potstill.records import Refused
from tests.labels.fakes import HIDDEN, LOGPROBS, Fake, examples, hidden, logprobs


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "labels"
    with LabelStore(root) as store:
        ask(Fake(("b", "a"), says={"text number 1": Refused("no")}), examples(6), [LOGPROBS, HIDDEN], Account(store))
        other = Fake(version="2")
        other.name = "other"
        ask(other, examples(4), [LOGPROBS], Account(store))
    return root


def test_ls_has_a_line_for_each_teacher_and_want(root):
    lines = {(line["teacher"], line["want"]): line for line in admin.ls(root)}
    assert {key: line["rows"] for key, line in lines.items()} == {
        ("fake", "logprobs"): 6,
        ("fake", "hidden:layer=1"): 6,
        ("other", "logprobs"): 4,
    }
    line = lines["fake", "logprobs"]
    assert line["identity"] == "fake-1"
    assert 0 < line["first"] <= line["last"] <= time.time()
    assert line["bytes"] > 0


def test_stats(root):
    stats = admin.stats(root)
    assert {name: stats[name] for name in ("rows", "shards", "teachers", "calls", "possibly_paid", "in_flight", "quarantined")} == {
        "rows": 16, "shards": 3, "teachers": 2, "calls": 10, "possibly_paid": 0, "in_flight": 0, "quarantined": 0,
    }  # fmt: skip


def test_nothing_is_made_where_there_is_no_store(tmp_path):
    root = tmp_path / "none"
    assert admin.ls(root) == []
    assert admin.stats(root)["rows"] == 0
    assert admin.gc(root)["files"] == 0
    assert not root.exists()


def test_gc_without_filters_removes_only_rubbish(root):
    (root / "quarantine").mkdir()
    (root / "quarantine" / "x.arrow").write_bytes(b"12345")
    old, young = root / "shards" / ".a.arrow.1.partial", root / "shards" / ".b.arrow.1.partial"
    for path in (old, young):
        path.write_bytes(b"1")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert admin.gc(root, dry_run=True)["files"] == 2
    assert old.exists()
    result = admin.gc(root)
    assert (result["files"], result["bytes"], result["rows"]) == (2, 6, 0)
    assert not old.exists()
    assert young.exists()  # a writer may be at it just now
    assert admin.stats(root)["rows"] == 16


def test_gc_of_one_teacher(root, tmp_path):
    reads = tmp_path / "home" / "reads"
    reads.mkdir(parents=True)
    (reads / "ledger").write_text("1")
    assert admin.gc(root, teacher="other", dry_run=True)["rows"] == 4
    assert admin.gc(root, teacher="other")["teachers"] == ["other"]
    assert {line["teacher"] for line in admin.ls(root)} == {"fake"}
    assert len(list((root / "shards").iterdir())) == 2
    assert (reads / "ledger").exists()
    again = Fake(version="2")
    with LabelStore(root) as store:
        ask(again, examples(4), [LOGPROBS], Account(store))
    assert len(again.asked) == 4
    with pytest.raises(StoreError, match="did you mean 'fake'"):
        admin.gc(root, teacher="fakee")


def test_gc_by_age(root):
    assert admin.gc(root, older_than_days=1)["rows"] == 0
    assert admin.gc(root, older_than_days=0, teacher="fake")["rows"] == 12
    assert admin.gc(root, older_than_days=0)["rows"] == 4
    assert admin.stats(root)["calls"] == 10  # the ledger of calls stays


def test_a_removal_that_was_killed_is_finished_and_brings_nothing_back(root):
    with LabelStore(root) as store:
        names = [name for (name,) in store.index.query("SELECT name FROM shards WHERE teacher = 'other'")]
        store.index.bury(names)
    with LabelStore(root) as store:
        assert not any((store.shards / name).exists() for name in names)
        assert store.index.query("SELECT COUNT(*) FROM shards") == [(2,)]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_export(root, tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    assert admin.export(root, "fake-1", path) == 12
    rows = [json.loads(line) for line in path.read_text().splitlines()] if suffix == "jsonl" else pq.read_table(path).to_pylist()
    by_example = {(row["example"], row["want"]): row for row in rows}
    first, second = examples(2)
    row = by_example[first.id, "logprobs"]
    assert row["labels"] == ["a", "b"]
    assert np.allclose(row["value"], logprobs(first)[:, ::-1])  # the teacher's labels are b, a
    assert np.allclose(by_example[first.id, "hidden:layer=1"]["value"], hidden(first))
    assert by_example[second.id, "logprobs"] == {
        "example": second.id, "want": "logprobs", "status": "refused", "reason": "no", "labels": ["a", "b"], "value": None,
    }  # fmt: skip


def test_export_of_an_unknown_teacher_or_format(root, tmp_path):
    with pytest.raises(StoreError, match="2 teachers have 'fake'"):
        admin.export(root, "fake", tmp_path / "x.jsonl")
    with pytest.raises(UserError, match="jsonl or"):
        admin.export(root, "fake-1", tmp_path / "x.txt")


def test_a_newer_store_is_refused(root):
    storage.write_json(root / "version.json", {"schema": 99})
    for look in (admin.ls, admin.stats, admin.gc):
        with pytest.raises(StoreError, match="version 99"):
            look(root)

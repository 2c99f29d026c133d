"""Rows of another kind: labels, groups and slices where the file has them, none that is learnt from, bad ones counted."""

from __future__ import annotations

import pytest

from potstill.dataset.prepare import load_elsewhere, prepare_elsewhere
from potstill.errors import DataError
from potstill.recipe.data import Data
from potstill.records import Example
from potstill.runlog import RunLog
from potstill.tasks import task

from .help import jsonl, lines, rows

SPEC = {"train": "unused", "slices": ["site"], "columns": {"text": "text", "label": "label", "group": "who"}}


def read(folder, made, said=None, learnt=(), **options) -> tuple[Example, ...]:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    log = RunLog()
    log.listeners.append(lambda event: (said if said is not None else []).append(event))
    spec = Data(**{**SPEC, **options})
    prepare_elsewhere([jsonl(folder / "others.jsonl", made)], spec, task("text-classification"), out, log, labels=("no", "yes"), learnt=learnt)
    return load_elsewhere(out)


def test_what_the_file_has_is_read_and_what_it_lacks_is_not_missed(tmp_path):
    assert [(row.gold, row.group) for row in read(tmp_path, [{"text": "one"}, {"text": "two"}])] == [(None, None)] * 2
    found = read(tmp_path, [{"text": "one", "label": "yes", "who": "a", "site": "north"}])
    assert (found[0].gold, found[0].group, dict(found[0].columns)) == ("yes", "a", {"site": "north"})


def test_rows_that_are_learnt_from_are_left_out_and_said(tmp_path):
    said = []
    found = read(tmp_path, rows(6), said, learnt={Example.make({"text": rows(1)[0]["text"]}).id})
    assert len(found) == 5
    assert any("1 rows of another kind were taken out" in str(event.get("text")) for event in said)


def test_bad_rows_are_counted_as_elsewhere(tmp_path):
    assert len(read(tmp_path, [*rows(30), {"text": "", "label": "yes"}])) == 30
    assert [row["split"] for row in lines(tmp_path / "out" / "dropped.jsonl")] == ["out_of_domain"]
    with pytest.raises(DataError, match=r"robustness\.out_of_domain: 3 of 4 rows"):
        read(tmp_path, [*rows(1), *[{"text": "", "label": "yes"}] * 3])
    with pytest.raises(DataError, match=r"(?s)robustness\.out_of_domain.*'maybe'.*leave the column of the labels out"):
        read(tmp_path, [{"text": "a", "label": "maybe"}])

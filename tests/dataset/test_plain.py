"""Plain text for general distillation: what is read, what is left out and why, what never meets the test rows."""

from __future__ import annotations

import gzip
import json

import pytest

from potstill.dataset import plain
from potstill.errors import DataError
from potstill.records import Example
from potstill.runlog import RunLog
from potstill.tasks import task

TEST = "the patient was seen again after two weeks and had no more pain at all"


@pytest.fixture
def data(tmp_path):
    """A prepared folder with one row in each split that judges."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, text in (("test", TEST), ("validation", "a short one"), ("calibration", "another one")):
        row = {"id": "", "fields": {"text": text}, "gold": "a", "group": None, "place": f"{name}:1", "columns": {}}
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def prepared(tmp_path, data, *paths, near=0.85, max_rows=None):
    folder = tmp_path / "made"
    folder.mkdir(exist_ok=True)
    plain.prepare([str(path) for path in paths], task("text-classification"), data, folder, RunLog(), near_duplicates=near, max_rows=max_rows)
    return json.loads((folder / "result.json").read_text()), [row.fields["text"] for row in plain.load(folder)]


def test_lines_and_columns_are_read_and_what_judges_is_taken_out(tmp_path, data):
    lines = tmp_path / "wiki.txt"
    lines.write_bytes(b"\xef\xbb\xbf = A heading = \n\n" + TEST.upper().encode() + b"\n" + TEST.replace("weeks", "weaks").encode() + b"\nA short ONE\n\xff\n")
    rows = tmp_path / "more.jsonl.gz"
    with gzip.open(rows, "wt") as file:
        file.write('{"text": "from a column"}\n{"text": ""}\n{"words": "no text"}\n{"text": "From a  column"}\n')
    found, texts = prepared(tmp_path, data, lines, rows)
    assert texts == ["= A heading =", "from a column"]
    assert {name: found[name] for name in ("rows", "read", "leaks", "repeated")} == {"rows": 2, "read": 6, "leaks": 3, "repeated": 1}
    assert found["dropped"] == {"invalid UTF-8": 1, "empty text": 1, "no text": 1}
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "made" / "duplicates.jsonl").read_text().splitlines()]
    assert sorted(kinds) == ["exact", "exact", "exact", "near"]


def test_the_first_rows_are_chosen_by_their_content(tmp_path, data):
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    texts = [f"line number {n}" for n in range(40)]
    one.write_text("\n".join(texts))
    other.write_text("\n".join(reversed(texts)))
    found, kept = prepared(tmp_path, data, one, max_rows=10)
    assert sorted(prepared(tmp_path, data, other, max_rows=10)[1]) == sorted(kept)
    assert found["rows"] == len(kept) == 10


def test_the_digest_is_of_the_texts_alone(tmp_path, data):
    one, other = tmp_path / "one.txt", tmp_path / "other.jsonl"
    one.write_text("a line\n")
    other.write_text('{"text": "a line", "more": 1}\n')
    assert prepared(tmp_path, data, one)[0]["digest"] == prepared(tmp_path, data, other)[0]["digest"]
    assert plain.load(tmp_path / "made") == [Example.make({"text": "a line"}, place="other.jsonl:1")]


def test_what_can_not_be_read_is_refused(tmp_path, data):
    (tmp_path / "wiki.pdf").write_text("x")
    with pytest.raises(DataError, match=r"no known kind[\s\S]*\.txt"):
        prepared(tmp_path, data, tmp_path / "wiki.pdf")
    (tmp_path / "same.txt").write_text(TEST)
    with pytest.raises(DataError, match="no plain text"):
        prepared(tmp_path, data, tmp_path / "same.txt")

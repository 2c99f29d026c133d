from __future__ import annotations

import gzip
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.errors import TeacherError
from potstill.records import Answered, Example, Failed, Head, Want
from potstill.teachers import build
from potstill.teachers.distributions import FLOOR

LOGPROBS = Want("logprobs")
HEAD = Head("classes", ("neg", "pos"))
FLOORED = np.log([1 - FLOOR, FLOOR]).astype(np.float32)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def open_it(path, head=HEAD, **options):
    defaults = {
        "kind": "recorded", "path": [str(p) for p in path] if isinstance(path, list) else str(path), "columns": {}, "labels": {},
        "name": "gpt", "license": "unknown", "output_license": "mit",
    }  # fmt: skip
    return build(SimpleNamespace(**{**defaults, **options}), head)


def said(teacher, *texts, pair=None):
    rows = [Example.make({"text": text} | ({"text_pair": pair} if pair else {})) for text in texts]
    answers = dict(teacher.answer(rows, [LOGPROBS]))
    return [answers[row.id].arrays[LOGPROBS][0] if isinstance(answers[row.id], Answered) else answers[row.id] for row in rows]


def test_hard_labels_are_one_hot_and_said_so(tmp_path):
    teacher = open_it(write(tmp_path / "r.jsonl", [{"text": "a", "label": "neg"}, {"text": "b", "label": "pos"}]))
    a, b = said(teacher, "a", "b")
    np.testing.assert_allclose(a, FLOORED, atol=1e-6)
    np.testing.assert_allclose(b, FLOORED[::-1], atol=1e-6)
    assert np.exp(a, dtype=np.float64).sum() == pytest.approx(1, abs=1e-6)
    facts = teacher.facts()
    assert facts["one_hot"] is True
    assert facts["rows"] == 2
    json.dumps(facts)


@pytest.mark.parametrize(
    "row",
    [
        {"probabilities": {"pos": 0.25, "neg": 0.75}},
        {"probabilities": [0.25, 0.75], "labels": ["pos", "neg"]},
        {"logprobs": {"neg": float(np.log(0.75)), "pos": float(np.log(0.25))}},
        {"logprobs": [float(np.log(0.25)), float(np.log(0.75))], "labels": ["pos", "neg"]},
        {"label": "pos", "probabilities": {"neg": 0.75, "pos": 0.25}},  # the label is gold, or the argmax: soft labels say more
    ],
)
def test_soft_labels_are_aligned_by_name(tmp_path, row):
    teacher = open_it(write(tmp_path / "r.jsonl", [{"text": "a", **row}]))
    np.testing.assert_allclose(np.exp(said(teacher, "a")[0]), [0.75, 0.25], rtol=1e-6)
    assert teacher.facts()["one_hot"] is False
    assert said(open_it(tmp_path / "r.jsonl", Head("classes", ("pos", "neg"))), "a")[0][0] == pytest.approx(np.log(0.25))


def test_logprobs_that_sum_to_one_are_kept_to_the_bit(tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    values = (values - np.logaddexp.reduce(values, axis=1, keepdims=True)).astype(np.float32)
    rows = [{"text": str(i), "logprobs": {"neg": float(a), "pos": float(b)}} for i, (a, b) in enumerate(values)]
    teacher = open_it(write(tmp_path / "r.jsonl", rows))
    np.testing.assert_array_equal(np.stack(said(teacher, *map(str, range(50)))), values)


def test_zero_and_absent_probabilities_stay_finite(tmp_path):
    rows = [{"text": "a", "probabilities": {"neg": 1.0, "pos": 0.0}}, {"text": "b", "probabilities": {"pos": 1}}]
    a, b = said(open_it(write(tmp_path / "r.jsonl", rows)), "a", "b")
    np.testing.assert_allclose(a, FLOORED, atol=1e-6)
    np.testing.assert_allclose(b, FLOORED[::-1], atol=1e-6)


def test_what_is_not_recorded_fails_and_says_why(tmp_path):
    teacher = open_it(write(tmp_path / "r.jsonl", [{"text": "a", "label": "neg"}, {"text": "b", "label": None}]))
    assert said(teacher, "b", "c") == [Failed("the recording has no answer"), Failed("not in the recording")]


def test_conflicting_rows_name_both_places(tmp_path):
    rows = [{"text": "a", "label": "neg"}, {"text": "b", "label": "neg"}, {"text": "a", "label": "neg"}, {"text": "b", "label": "pos"}]
    with pytest.raises(TeacherError, match=r"1 row .*\n.*r\.jsonl:4: another answer to the same text stands at r\.jsonl:2"):
        open_it(write(tmp_path / "r.jsonl", rows))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"probabilities": {"neg": 0.9, "pos": 0.4}}, "sum to 1.3"),
        ({"probabilities": {"neg": -0.5, "pos": 1.5}}, "below 0"),
        ({"probabilities": {"neg": float("nan"), "pos": 1.0}}, "NaN"),
        ({"probabilities": {"neg": "0.5", "pos": 0.5}}, "no number"),
        ({"probabilities": [0.5, 0.5]}, "column `labels` must name its entries"),
        ({"probabilities": [0.5, 0.5], "labels": ["neg"]}, "has 2 entries, labels has 1"),
        ({"probabilities": [0.5, 0.5], "labels": ["neg", "neg"]}, "named twice"),
        ({"probabilities": 0.5}, "neither an object by label nor a list"),
        ({"logprobs": {"neg": 0.9, "pos": 0.4}}, "not to 1"),
        ({"label": "angry"}, "'angry' is none of the task's"),
        ({"text": None, "label": "neg"}, "there is no text"),
    ],
)
def test_rows_that_cant_be_used_are_named(tmp_path, row, message):
    path = write(tmp_path / "r.jsonl", [{"text": "fine", **({"label": "neg"} if "label" in row else row)}, {"text": "a", **row}])
    with pytest.raises(TeacherError, match=message) as error:
        open_it(path)
    assert "r.jsonl:2" in str(error.value)


def test_all_problems_come_at_once_up_to_ten(tmp_path):
    with pytest.raises(TeacherError, match="12 rows") as error:
        open_it(write(tmp_path / "r.jsonl", [{"text": str(i), "label": "x"} for i in range(12)]))
    assert str(error.value).count("none of the task's") == 10
    assert "and 2 more" in str(error.value)


def test_formats_agree(tmp_path):
    rows = [{"text": 'ä, "b"', "label": "neg"}, {"text": "line\nbreak", "label": "pos"}]
    write(tmp_path / "r.jsonl", rows)
    with gzip.open(tmp_path / "g.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write((tmp_path / "r.jsonl").read_text())
    (tmp_path / "r.csv").write_text('\ufefftext,label\n"ä, ""b""",neg\n"line\nbreak",pos\n', encoding="utf-8")
    (tmp_path / "r.tsv").write_text('text\tlabel\n"ä, ""b"""\tneg\n"line\nbreak"\tpos\n', encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    for name in ("r.jsonl", "g.jsonl.gz", "r.csv", "r.tsv", "r.parquet"):
        answers = said(open_it(tmp_path / name), *(row["text"] for row in rows))
        assert [int(answer.argmax()) for answer in answers] == [0, 1], name


def test_csv_cells_and_parquet_structs_hold_distributions(tmp_path):
    (tmp_path / "r.csv").write_text('text,probabilities\na,"{""neg"": 0.75, ""pos"": 0.25}"\n')
    pq.write_table(
        pa.Table.from_pylist([{"text": "a", "probabilities": {"neg": 0.75, "pos": 0.25}}, {"text": "b", "probabilities": {"neg": 1.0}}]),
        tmp_path / "r.parquet",
    )
    for name in ("r.csv", "r.parquet"):
        np.testing.assert_allclose(np.exp(said(open_it(tmp_path / name), "a")[0]), [0.75, 0.25], rtol=1e-6)


def test_columns_and_labels_are_mapped(tmp_path):
    path = write(tmp_path / "r.jsonl", [{"s1": "a", "s2": "b", "answer": 1.0}, {"s1": "a", "s2": "c", "answer": 0}])
    teacher = open_it(path, columns={"text": "s1", "text_pair": "s2", "label": "answer"}, labels={"1": "pos", "0": "neg"})
    assert said(teacher, "a", pair="b")[0].argmax() == 1
    assert said(teacher, "a", pair="c")[0].argmax() == 0
    assert said(teacher, "a") == [Failed("not in the recording")]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": "txt"}, r"no column 'txt'(?s:.*)did you mean 'text'"),
        ({"label": "gone"}, "no column 'gone'"),
        ({"lable": "label"}, "did you mean 'label'"),
    ],
)
def test_wrong_columns(tmp_path, columns, message):
    with pytest.raises(TeacherError, match=message):
        open_it(write(tmp_path / "r.jsonl", [{"text": "a", "label": "neg"}]), columns=columns)


def test_no_answers_at_all(tmp_path):
    with pytest.raises(TeacherError, match="no column holds answers"):
        open_it(write(tmp_path / "r.jsonl", [{"text": "a", "words": "neg"}]))
    with pytest.raises(TeacherError, match="no column 'text'"):
        open_it(write(tmp_path / "r.jsonl", [{"words": "a", "label": "neg"}]))


def test_files_that_cant_be_read(tmp_path):
    with pytest.raises(TeacherError, match="no such file"):
        open_it(tmp_path / "gone.jsonl")
    for name, content, message in [
        ("e.jsonl", b"", "empty"),
        ("w.jsonl", b"\n", "no rows"),
        ("x.jsonl", b'{"text": \n', "no JSON"),
        ("l.jsonl", b"[1]\n", "no JSON object"),
        ("u.jsonl", b'{"text": "\xff", "label": "neg"}\n', "UTF-8"),
        ("z.jsonl.gz", gzip.compress(b'{"text": "a", "label": "neg"}\n' * 50, mtime=0)[:-9], "can't be read"),
        ("p.parquet", b"PAR1 no", "can't be read"),
        ("t.txt", b"a", "no known kind"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TeacherError, match=message):
            open_it(tmp_path / name)


def test_identity_is_content_and_mapping(tmp_path):
    rows = [{"text": "a", "label": "neg", "other": "pos"}]
    path = write(tmp_path / "r.jsonl", rows)
    copy = write(tmp_path / "copy.jsonl", rows)
    more = write(tmp_path / "more.jsonl", [*rows, {"text": "b", "label": "neg", "other": "pos"}])
    base = open_it(path).identity()
    assert open_it(copy).identity() == base
    assert open_it(path, Head("classes", ("pos", "neg"))).identity() == base
    others = [open_it(more), open_it(path, columns={"label": "other"}), open_it(path, labels={"neg": "pos"}), open_it([path, more])]
    assert len({base, *(teacher.identity() for teacher in others)}) == 5


def test_it_gives_log_probabilities_alone(tmp_path):
    teacher = open_it(write(tmp_path / "r.jsonl", [{"text": "a", "label": "neg"}]))
    assert teacher.offers() == {"logprobs"}
    with pytest.raises(TeacherError, match="hidden"):
        list(teacher.answer([], [Want("hidden", layer=1)]))

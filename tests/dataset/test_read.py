"""Files of every kind, whole and broken: what can be read is, and what can't is named."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.dataset.read import Source, read, sources
from potstill.errors import DataError

HELLO = [{"text": "hello, world", "label": "a"}, {"text": 'she said "hi"\non two lines', "label": "b"}, {"text": "naïve 😀", "label": "a"}]


def table(path, split="train"):
    return read(Source(split, path, path.name))


def values(path):
    return [row.values for row in table(path).rows]


def bad(path):
    return [(row.line, row.reason) for row in table(path).rows if row.values is None]


def write_csv(path, rows, **options):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), **options)
        writer.writeheader()
        writer.writerows(rows)
    return path


def gzipped(path):
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


# -------------------------------------------------------------------------------------------------- each format, whole
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_text_formats_give_the_same_rows(tmp_path, kind, packed):
    path = tmp_path / f"data.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in HELLO), "utf-8")
    else:
        write_csv(path, HELLO)
    assert values(gzipped(path) if packed else path) == HELLO


@pytest.mark.parametrize("packed", [False, True])
def test_tsv_is_a_row_a_line_with_stray_quotes(tmp_path, packed):
    path = tmp_path / "data.tsv"
    path.write_bytes(b'text\tlabel\r\n"stray and open\t1\r\nplain "mid" one\t0\r\n"whole ""field"""\t1\r\n')
    got = values(gzipped(path) if packed else path)
    assert [row["text"] for row in got] == ['"stray and open', 'plain "mid" one', 'whole "field"']
    assert [row["label"] for row in got] == ["1", "0", "1"]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path, kind):
    body = {"jsonl": '{"text": "a", "label": "b"}\n', "csv": "text,label\na,b\n", "tsv": "text\tlabel\na\tb\n"}[kind]
    path = tmp_path / f"data.{kind}"
    path.write_bytes(b"\xef\xbb\xbf" + body.encode())
    assert values(path) == [{"text": "a", "label": "b"}]


def test_parquet(tmp_path):
    pq.write_table(pa.Table.from_pylist([*HELLO, {"text": None, "label": None}]), tmp_path / "data.parquet")
    made = table(tmp_path / "data.parquet")
    assert made.columns == ["text", "label"]
    assert [row.values for row in made.rows] == [*HELLO, {"text": None, "label": None}]
    assert made.share() == 1.0


def saved(folder, rows, features=None):
    """Write a folder as `datasets.save_to_disk` does."""
    folder.mkdir(parents=True)
    made = pa.Table.from_pylist(rows)
    if features:
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
        writer.write_table(made)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    return folder


def test_a_datasets_folder_gives_class_names(tmp_path):
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}
    folder = saved(tmp_path / "train", [{"text": "a", "label": 1}, {"text": "b", "label": 0}, {"text": "c", "label": -1}], features)
    (source,) = sources({"train": str(folder)})
    assert [row.values["label"] for row in read(source).rows] == ["pos", "neg", None]


def test_two_folders_files_are_told_apart(tmp_path):
    for split in ("train", "test"):
        saved(tmp_path / split, [{"text": "a", "label": 1}])
    (tmp_path / "dataset_dict.json").write_text("{}")
    found = sources({"train": str(tmp_path / "train"), "test": str(tmp_path / "test")})
    assert [source.name for source in found] == ["train/data-00000-of-00001.arrow", "test/data-00000-of-00001.arrow"]
    with pytest.raises(DataError, match="name one of them: test, train"):
        sources({"train": str(tmp_path)})


def test_an_arrow_file_with_a_footer(tmp_path):
    made = pa.Table.from_pylist(HELLO)
    with pa.OSFile(str(tmp_path / "data.arrow"), "wb") as file, pa.ipc.new_file(file, made.schema) as writer:
        writer.write_table(made)
    assert values(tmp_path / "data.arrow") == HELLO


# ----------------------------------------------------------------------------------------------------------- bad rows
def test_jsonl_rows_that_are_none(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"text": "a"}\n\n{"text": \n["list"]\n{"text": "caf\xe9"}\n' + b"[" * 100_000 + b'\n{"text": "z"}\n')
    assert bad(path) == [(3, "invalid JSON"), (4, "not a JSON object"), (5, "invalid UTF-8"), (6, "invalid JSON")]
    assert [row["text"] for row in values(path) if row] == ["a", "z"]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_bad_byte_costs_one_row(tmp_path, kind):
    path, comma = tmp_path / f"data.{kind}", {"csv": b",", "tsv": b"\t"}[kind]
    path.write_bytes(b"text,label\ngood,1\ncaf\xe9,0\nfine,1\n".replace(b",", comma))
    assert bad(path) == [(3, "invalid UTF-8")]
    assert len(values(path)) == 3


def test_parquet_strings_that_are_no_utf8_cost_one_row(tmp_path):
    raw = pa.array([b"good", b"caf\xe9", b"fine"], pa.binary()).view(pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"text": texts}), tmp_path / "data.parquet")
    assert bad(tmp_path / "data.parquet") == [(2, "invalid UTF-8")]


def test_rows_of_the_wrong_width(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,label\na,1\na,b,1\nonly\n\nz,0\n")
    assert bad(path) == [(3, "wrong number of fields"), (4, "wrong number of fields")]


def test_places_of_csv_rows_are_the_lines_they_begin_on(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"one\ntwo\nthree",1\n\n"four\nfive",0\nsix,1\n')
    assert [row.line for row in table(path).rows] == [2, 6, 8]


def test_a_stray_quote_that_joins_lines_shows_the_size_of_the_loss(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label\na,1\n"stray,1\nb,0\nc,1\nd" stray,1\ne,0\n')
    assert bad(path) == [(line, "unbalanced quotes") for line in (3, 4, 5, 6)]
    assert [row["text"] for row in values(path) if row] == ["a", "e"]


def test_a_quote_that_is_never_closed_stops(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label\na,1\n"open,1\n' + "b,0\n" * 1000)
    with pytest.raises(DataError, match=r"data.csv:3: a quote that opens in this row is never closed"):
        values(path)
    path.write_text('text,label\na,1\n"open,1\n')
    assert bad(path) == [(3, "unbalanced quotes")]


def test_an_open_quote_in_a_big_file_takes_no_memory(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"open,1\n' + "some words and more of them,0\n" * 400_000)
    tracemalloc.start()
    with pytest.raises(DataError, match="never closed"):
        values(path)
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "csv quoted", "tsv", "jsonl.gz"])
def test_a_10_MB_line_costs_one_row_and_no_memory(tmp_path, kind):
    long = "word " * 2_000_000
    head, row, quote = {"jsonl": ("", '{{"text": "{}"}}\n', ""), "tsv": ("text\tlabel\n", "{}\t1\n", "")}.get(
        kind.partition(".")[0], ("text,label\n", "{}{}{},1\n", '"' if "quoted" in kind else "")
    )
    fill = (lambda text: row.format(quote, text, quote)) if row.count("{}") == 3 else row.format
    path = tmp_path / f"data.{kind.split()[0]}"
    body = (head + fill("a") + fill(long) + fill("z")).encode()
    path.write_bytes(gzip.compress(body, 1) if kind.endswith("gz") else body)
    del long, body
    first = 1 if "json" in kind else 2
    tracemalloc.start()
    assert bad(path) == [(first + 1, "text over 1 MB")]
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()
    assert [row["text"] for row in values(path) if row] == ["a", "z"]


# ---------------------------------------------------------------------------------------------------------- bad files
def test_a_file_that_is_not_there_names_the_near_ones(tmp_path):
    for name in ("train.jsonl", "test.jsonl", "notes.txt"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match=r"no such file\n  near it: train.jsonl") as caught:
        sources({"train": str(tmp_path / "trian.jsonl")})
    assert "data.train" in str(caught.value)
    with pytest.raises(DataError, match=r"near it: test.jsonl, train.jsonl"):
        sources({"train": str(tmp_path / "something-else.csv")})
    with pytest.raises(DataError, match="there is no folder"):
        sources({"train": str(tmp_path / "nowhere" / "a.csv")})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "the file is empty"), ("a.txt", b"hello", "of no known kind"), ("a.gz", b"hello", "of no known kind"),
        ("a.jsonl", b'[{"text": 1}]', "one JSON array"), ("a.csv", b"\n\n", "no header line"), ("a.csv", b"a,a\n1,2\n", "names a column twice"),
        ("a.csv", "text\n".encode("utf-16"), "iconv -f UTF-16"), ("a.jsonl.gz", b"not gzip at all", "gzip file is damaged"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 500, mtime=0)[:-9], "gzip file is damaged"), ("a.parquet", b"PAR1 not really", "damaged or of another kind"),
        ("a.arrow", b"no arrow", "damaged or of another kind"), ("a.arrow", b"ARROW1 no", "damaged or of another kind"),
    ],
)  # fmt: skip
def test_files_that_are_none(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        for source in sources({"train": str(path)}):
            list(read(source).rows)


def test_a_parquet_file_cut_in_the_middle(tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(20_000)]}), path)
    data = bytearray(path.read_bytes())
    data[200:40_000] = bytes(len(data[200:40_000]))
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="damaged"):
        values(path)


def test_a_folder_that_holds_no_data(tmp_path):
    (tmp_path / "readme.md").write_text("hi")
    with pytest.raises(DataError, match=r"but readme\.md"):
        sources({"train": str(tmp_path)})


def test_a_datasets_folder_that_lacks_a_file(tmp_path):
    folder = saved(tmp_path / "train", [{"text": "a"}])
    (folder / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(DataError, match="lacks data-00000"):
        sources({"train": str(folder)})


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    import potstill.lookup as lookup
    from potstill.errors import MissingExtraError

    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"text": ["a"]}), path)
    monkeypatch.setattr(lookup.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"potstill\[train\]"):
        table(path)

"""What is made is new, has no gold, keeps its group, stays away from the rows that judge, and is counted."""

from __future__ import annotations

import json

import pytest

from potstill.dataset.augment import make as module
from potstill.dataset.augment.make import FILE, kind, load, make
from potstill.dataset.prepare import load as load_data
from potstill.dataset.prepare import prepare
from potstill.recipe.augment import Deletion, Neighbours
from potstill.recipe.data import Data
from potstill.runlog import RunLog
from potstill.tasks import task
from tests.dataset.help import jsonl
from tests.dataset.help import rows as help_rows
from tests.tiny import encoder

TASK = task("text-classification")
LONG = "amber birch cobalt delta ember fjord garnet harbor iris jasper kelp lumen maple nectar onyx pearl quartz raven saffron tundra"


def rows(count, start=0):
    return help_rows(count, start, ("a", "b"))


def dataset(folder, train, test, **more):
    out = folder / "data"
    out.mkdir(parents=True)
    filler = {"validation": jsonl(folder / "v.jsonl", rows(4, 800)), "calibration": jsonl(folder / "c.jsonl", rows(4, 900))}
    spec = Data(train=jsonl(folder / "a.jsonl", train), test=jsonl(folder / "t.jsonl", test), **filler, **more)
    prepare(spec, TASK, out, RunLog())
    return load_data(out), out


def run(folder, data, out, specs, *, threshold=0.85, seed=0, model=None, progress=None):
    for name in ("made", "scratch"):
        (folder / name).mkdir(exist_ok=True)
    kinds = [kind(spec, data.train.examples, model, 1) for spec in specs]
    counts = make(
        kinds, folder / "made", folder / "scratch", data=out, taken=(*data.train, *data.unlabeled), task=TASK, threshold=threshold, seed=seed,
        **({} if progress is None else {"progress": progress}),
    )  # fmt: skip
    lines = [json.loads(line) for line in (folder / "made" / FILE).read_text().splitlines()]
    return counts, lines, load(folder / "made")


def adds_up(counts):
    for one in (counts["total"], *counts["kinds"].values()):
        assert one["asked"] == one["unchanged"] + one["made"]
        assert one["made"] == one["kept"] + one["duplicate"] + one["leaked"]


def test_gold_is_not_inherited_and_the_group_is(tmp_path):
    train = [{**row, "site": f"s{i}"} for i, row in enumerate(rows(30))]
    test = [{**row, "site": f"t{i}"} for i, row in enumerate(rows(6, 500))]
    for name, start in (("v", 800), ("c", 900)):
        jsonl(tmp_path / f"{name}2.jsonl", [{**row, "site": f"{name}{i}"} for i, row in enumerate(rows(4, start))])
    (tmp_path / "x").mkdir()
    spec = Data(
        train=jsonl(tmp_path / "a.jsonl", train), test=jsonl(tmp_path / "t.jsonl", test), validation=str(tmp_path / "v2.jsonl"),
        calibration=str(tmp_path / "c2.jsonl"), columns={"group": "site"},
    )  # fmt: skip
    prepare(spec, TASK, tmp_path / "x", RunLog())
    data = load_data(tmp_path / "x")
    counts, lines, made = run(tmp_path, data, tmp_path / "x", [Deletion(copies=2)])
    adds_up(counts)
    assert len(made) == counts["total"]["kept"] > 40
    assert all(row.gold is None for row in made)
    groups = {row.place: row.group for row in data.train}
    assert all(row.group == groups[line["source"]["place"]] for row, line in zip(made, [line for line in lines if line["fate"] == "kept"]))
    assert all(row.gold is not None for row in data.train)


def test_copies_equal_to_a_row_that_is_there_or_to_each_other_are_left_out(tmp_path):
    train = [{"text": "one two three four", "label": "a"}, {"text": "ONE  two three", "label": "b"}, {"text": "something else than that", "label": "a"}]
    data, out = dataset(tmp_path, train, [{"text": "nothing like these", "label": "a"}, {"text": "nor this", "label": "b"}])
    counts, _, made = run(tmp_path, data, out, [Deletion(copies=60, share=0.25)])
    adds_up(counts)
    texts = [row.fields["text"] for row in made]
    assert len(set(texts)) == len(texts)
    assert {text for text in texts if "four" in text} == {"two three four", "one three four", "one two four"}
    assert "one two three" not in texts  # the second training row says it
    assert counts["total"]["duplicate"] == counts["total"]["made"] - len(made)


@pytest.mark.parametrize("role", ["test", "validation"])
def test_a_copy_that_a_judging_row_says_is_left_out_and_counted(tmp_path, role):
    train = [{"text": "one two three four", "label": "a"}, {"text": "something else than that", "label": "b"}]
    judging = [{"text": "Two three  four", "label": "a"}, {"text": "nothing like these", "label": "b"}]
    data, out = dataset(tmp_path, train, judging if role == "test" else rows(4, 700))
    if role == "validation":
        spec = Data(
            train=str(tmp_path / "a.jsonl"), test=str(tmp_path / "t.jsonl"), validation=jsonl(tmp_path / "v.jsonl", judging),
            calibration=str(tmp_path / "c.jsonl"),
        )  # fmt: skip
        prepare(spec, TASK, out, RunLog())
        data = load_data(out)
    counts, lines, made = run(tmp_path, data, out, [Deletion(copies=60, share=0.25)])
    adds_up(counts)
    assert counts["total"]["leaked"] == 1
    leaked = next(line for line in lines if line["fate"] == "leaked")
    assert (leaked["fields"]["text"], leaked["near"]) == ("two three four", role)
    assert "two three four" not in {row.fields["text"] for row in made}


def test_a_copy_near_to_a_test_row_is_left_out_as_far_as_near_counts(tmp_path):
    near = LONG.replace("amber birch", "pebble grove").replace("tundra", "meadow")  # about as far from LONG as a row may be
    train = [{"text": near + " amber", "label": "a"}, {"text": "quite another thing altogether", "label": "b"}]
    test = [{"text": near + " birch amber", "label": "a"}, {"text": "nothing like these", "label": "b"}]
    data, out = dataset(tmp_path, train, test, near_duplicates=0)
    assert len(data.train) == 2
    counts, lines, made = run(tmp_path, data, out, [Deletion(copies=5, share=0.05)], threshold=0.7)
    adds_up(counts)
    assert counts["total"]["leaked"] >= 1
    assert not any("jasper" in row.fields["text"] for row in made)
    assert counts["total"]["leaked"] == sum(line["fate"] == "leaked" for line in lines)
    off, _, _ = run(tmp_path / "data", data, out, [Deletion(copies=5, share=0.05)], threshold=0)
    assert off["total"]["leaked"] == 0


def test_one_seed_one_outcome_and_rows_do_not_move_each_other(tmp_path):
    data, out = dataset(tmp_path, rows(40), rows(6, 500))
    made = {}
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        made[name] = run(tmp_path / name, data, out, [Deletion(copies=2)], seed=seed)[1]
    assert made["one"] == made["again"]
    assert made["one"] != made["other"]


def test_a_killed_run_goes_on_and_makes_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 8)
    data, out = dataset(tmp_path, rows(40), rows(6, 500))
    (tmp_path / "whole").mkdir()
    _, whole, _ = run(tmp_path / "whole", data, out, [Deletion(copies=2)])
    inner, calls = module._changed, []

    def dies(one, changer, chunk, seed):
        calls.append(len(chunk))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return inner(one, changer, chunk, seed)

    monkeypatch.setattr(module, "_changed", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, data, out, [Deletion(copies=2)])
    told = []
    _, lines, _ = run(tmp_path, data, out, [Deletion(copies=2)], progress=lambda done, total, detail: told.append((done, total, detail)))
    assert lines == whole
    assert len(calls) == 3 + len(data.train) // 8 - 2
    assert told[-1] == (len(data.train), len(data.train), "deletion")


def test_both_texts_of_a_pair_are_changed_each_for_itself(tmp_path):
    pairs = [{"text": f"good cat {i} and the bad dog", "text_pair": f"a poor bird {i} in the old tree", "label": "ab"[i % 2]} for i in range(20)]
    spec = Data(train=jsonl(tmp_path / "a.jsonl", pairs), columns={"text_pair": "text_pair"}, near_duplicates=0)
    (tmp_path / "out").mkdir()
    prepare(spec, TASK, tmp_path / "out", RunLog())
    data = load_data(tmp_path / "out")
    model = encoder(tmp_path / "encoder")
    _, lines, made = run(tmp_path, data, tmp_path / "out", [Neighbours(copies=2, share=0.3)], model=model)
    assert made
    for line in lines:
        source = line["source"]["fields"]
        assert line["fields"]["text"] != source["text"]
        assert line["fields"]["text_pair"] != source["text_pair"]
        digit = source["text"].split()[2]
        assert digit in line["fields"]["text"].split()

"""Traps 52 and 53: test rows among the rows to learn from; looking at the test rows before the analysis is fixed."""

from __future__ import annotations

import json

import pytest

from potstill.dataset.augment.make import FILE, kind, make
from potstill.dataset.augment.make import load as made
from potstill.dataset.minhash import normalized, similarity
from potstill.dataset.prepare import load
from potstill.errors import SealedError
from potstill.recipe.augment import Deletion
from potstill.records import Registration
from potstill.tasks import task
from tests.dataset.help import jsonl, lines, places, rows, rows_of, run, texts

TAIL = "and then a sentence of some length that all of these rows share word for word with each other"


def judged_files(folder, **more):
    """Three judging files of 20 rows, far from each other, and whatever else is given."""
    return {
        "test": jsonl(folder / "test.jsonl", rows(20, 900)), "validation": jsonl(folder / "validation.jsonl", rows(20, 7000)),
        "calibration": jsonl(folder / "calibration.jsonl", rows(20, 8000)), **more,
    }  # fmt: skip


def test_trap_52_copies_of_judging_rows_are_found_named_and_removed_from_training(tmp_path):
    held = [rows(20, 900)[3], rows(20, 7000)[4], rows(20, 8000)[5]]
    planted = [{**row, "text": f" {row['text'].upper()} "} for row in held]
    pool = [{"text": row["text"]} for row in held]
    data = run(tmp_path, **judged_files(tmp_path, train=jsonl(tmp_path / "train.jsonl", [*rows(40), *planted]), unlabeled=jsonl(tmp_path / "pool.jsonl", pool)))
    assert len(data.train) == 40
    assert len(data.unlabeled) == 0
    assert data.test.size == len(data.validation) == len(data.calibration) == 20
    named = {line["removed"]: (line["kind"], line["kept"]) for line in lines(tmp_path / "out/duplicates.jsonl")}
    kept = ("test.jsonl:4", "validation.jsonl:5", "calibration.jsonl:6")
    assert named == {f"{file}:{first + i}": ("exact", place) for file, first in (("train.jsonl", 41), ("pool.jsonl", 1)) for i, place in enumerate(kept)}
    assert data.card["leaks"] == 6


def test_trap_52_near_duplicates_of_judging_rows_are_found_named_and_removed(tmp_path):
    test = [{**row, "text": f"{row['text']} {TAIL}"} for row in rows(20, 900)]
    near = [{**row, "text": row["text"].replace("share word", "share  WORDS")} for row in test]
    far = [{"text": f"{text} {TAIL}", "label": "yes"} for text in texts(20, 3000)]
    paths = judged_files(tmp_path, train=jsonl(tmp_path / "train.jsonl", [*far, *near, *rows(2)]), unlabeled=jsonl(tmp_path / "pool.jsonl", near))
    paths["test"] = jsonl(tmp_path / "test.jsonl", test)
    data = run(tmp_path, **paths)
    named = {line["removed"]: line for line in lines(tmp_path / "out/duplicates.jsonl")}
    assert set(named) == {f"train.jsonl:{21 + i}" for i in range(20)} | {f"pool.jsonl:{1 + i}" for i in range(20)}
    assert all(line["kind"] == "near" and line["similarity"] >= 0.85 and line["kept"].startswith("test.jsonl:") for line in named.values())
    assert {place for place in places(data, "train")} == {*(f"train.jsonl:{i + 1}" for i in range(20)), "train.jsonl:41", "train.jsonl:42"}
    assert data.card["leaks_by_pair"] == {"near: test/train": 20, "near: test/unlabeled": 20}


def test_trap_52_rows_made_by_augmentation_stay_away_from_those_that_judge(tmp_path):
    long = [{"text": f"{text} {TAIL}", "label": "yes"} for text in texts(10, 3000)]
    short = {"text": "alpha bravo charlie delta", "label": "no"}
    test = [
        *rows(20, 900),
        *({**row, "text": row["text"].replace("share word", "share a word")} for row in long),
        {"text": "Bravo charlie delta", "label": "no"},
    ]
    paths = judged_files(tmp_path, train=jsonl(tmp_path / "train.jsonl", [*rows(40), *long, short]), near_duplicates=0)
    paths["test"] = jsonl(tmp_path / "test.jsonl", test)
    data = run(tmp_path, **paths)
    assert len(data.train) == 51
    (tmp_path / "made").mkdir()
    kinds = [kind(Deletion(copies=20, share=0.05), data.train.examples, None, 1)]
    counts = make(
        kinds, tmp_path / "made", tmp_path / "made", data=tmp_path / "out", taken=data.train.examples, task=task("text-classification"),
        threshold=0.85, seed=0,
    )["total"]  # fmt: skip
    told = lines(tmp_path / "made" / FILE)
    sources = {line["source"]["place"] for line in told if line["fate"] == "leaked"}
    assert {f"train.jsonl:{41 + i}" for i in range(11)} == sources
    assert counts["made"] == counts["kept"] + counts["duplicate"] + counts["leaked"]
    kept = {row.fields["text"] for row in made(tmp_path / "made")}
    assert "bravo charlie delta" not in kept
    numbered = [text for text in kept if "case3" in text]  # without its number a text of this length is another: see minhash
    assert not any(similarity(normalized(text), normalized(row["text"])) >= 0.85 for text in numbered for row in test)


def test_trap_52_what_chooses_holds_no_copy_of_a_test_row(tmp_path):
    paths = judged_files(tmp_path, train=jsonl(tmp_path / "train.jsonl", rows(40)))
    for name in ("validation", "calibration"):
        jsonl(tmp_path / f"{name}.jsonl", [*rows(20, 7000 if name == "validation" else 8000), rows(20, 900)[0]])
    data = run(tmp_path, **paths)
    assert len(data.validation) == len(data.calibration) == data.test.size == 20
    assert data.card["leaks_by_pair"] == {"exact: test/validation": 1, "exact: test/calibration": 1}


@pytest.mark.parametrize("given", [False, True], ids=["cut", "given"])
def test_trap_52_a_group_never_straddles_what_is_learnt_from_and_what_judges(tmp_path, given):
    made = [{**row, "family": f"f{i % 30}"} for i, row in enumerate(rows(300))]
    paths = {"train": jsonl(tmp_path / "train.jsonl", made), "unlabeled": jsonl(tmp_path / "pool.jsonl", [{**r, "text": r["text"] + " x"} for r in made])}
    if given:  # the user's own files share families
        for name, first in (("test", 900), ("validation", 7000), ("calibration", 8000)):
            paths[name] = jsonl(tmp_path / f"{name}.jsonl", [{**row, "family": f"f{i + first // 1000}"} for i, row in enumerate(rows(8, first))])
    data = run(tmp_path, **paths, columns={"group": "family"}, near_duplicates=0)
    groups = {split: {row.group for row in rows_of(data, split)} for split in ("train", "unlabeled", "validation", "calibration", "test")}
    assert all(groups.values())
    for split in ("test", "validation", "calibration"):
        assert not groups[split] & set().union(*(groups[other] for other in groups if other != split))
    assert data.card["straddling_groups"] > 0  # the pool's, at least
    assert {line["kind"] for line in lines(tmp_path / "out/duplicates.jsonl")} == {"group"}
    assert data.test.size == (8 if given else len(rows_of(data, "test")))


# --------------------------------------------------------------------------------------------------------------- trap 53
@pytest.fixture
def prepared(tmp_path):
    return run(tmp_path, train=jsonl(tmp_path / "a.jsonl", rows(200)))


def registration(tmp_path, test_hash):
    path = tmp_path / "registration.json"
    path.write_text("{}")
    return Registration("h", test_hash, "now", path)


def test_trap_53_the_test_rows_are_not_read_before_they_are_opened(tmp_path, prepared):
    whole = (tmp_path / "out/test.jsonl").read_bytes()
    (tmp_path / "out/test.jsonl").unlink()
    data = load(tmp_path / "out")  # works without the file
    assert data.test.size == prepared.test.size > 0
    assert not hasattr(data.test, "examples")
    with pytest.raises(TypeError):
        iter(data.test)
    (tmp_path / "out/test.jsonl").write_bytes(whole)
    assert len(data.test.open(registration(tmp_path, data.test.digest))) == data.test.size


def test_trap_53_the_test_rows_open_for_a_registration_of_theirs_on_disk_alone(tmp_path, prepared):
    missing = Registration("h", prepared.test.digest, "now", tmp_path / "nowhere.json")
    for wrong in (missing, registration(tmp_path, "another split's hash")):
        with pytest.raises(SealedError, match="before their analysis was registered"):
            prepared.test.open(wrong)


@pytest.mark.parametrize("change", [{"gold": "no!"}, {"fields": {"text": "easier"}}, {"group": "g"}, None], ids=["gold", "fields", "group", "a row less"])
def test_trap_53_other_test_rows_than_those_registered_do_not_open(tmp_path, prepared, change):
    path = tmp_path / "out/test.jsonl"
    first, *rest = path.read_text("utf-8").splitlines()
    path.write_text("\n".join(rest if change is None else [json.dumps({**json.loads(first), **change}), *rest]) + "\n")
    with pytest.raises(SealedError, match="not those that were registered"):
        prepared.test.open(registration(tmp_path, prepared.test.digest))

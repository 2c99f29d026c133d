"""The whole stage: what goes in comes out once, in one split, or is named with the reason why not."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from potstill.dataset.prepare import SPLITS, prepare
from potstill.errors import DataError, UserError
from potstill.recipe.data import Data
from potstill.runlog import RunLog
from potstill.tasks import task
from tests.dataset.help import jsonl, lines, places, rows, rows_of, run, texts

SHARES = {"test": 0.2, "validation": 0.1, "calibration": 0.1}


def test_splits_are_cut_by_the_stated_shares_alike_for_every_label(tmp_path):
    data = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", rows(4000)))
    for split, share in {**SHARES, "train": 0.6}.items():
        got = Counter(row.gold for row in rows_of(data, split))
        assert got["yes"] + got["no"] == pytest.approx(4000 * share, rel=0.12)
        assert got["yes"] == pytest.approx(got["no"], rel=0.25)
    assert data.card["split"] == {"test": "0.2 of train", "validation": "0.1 of train", "calibration": "0.1 of train"}


def test_added_rows_and_their_order_move_none(tmp_path):
    def where(made, folder):
        folder.mkdir()
        data = run(folder, train=jsonl(folder / "a.jsonl", made))
        return {row.id: split for split in SPLITS for row in rows_of(data, split)}

    first = where(rows(300), tmp_path / "one")
    more = where([*rows(100, 1000), *reversed(rows(300))], tmp_path / "two")
    assert len(first) == 300
    assert first.items() <= more.items()


def test_the_seed_moves_rows_and_the_shares_of_others_do_not_move_test(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", rows(400))
    tests = [places(run(tmp_path, train=path, split=split), "test") for split in ({}, {"seed": 1}, {"validation": 0.3, "calibration": 0.0})]
    assert tests[0] != tests[1]
    assert tests[0] == tests[2]


def test_a_split_with_a_file_is_not_cut(tmp_path):
    data = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", rows(300)), test=jsonl(tmp_path / "t.jsonl", rows(50, 1000)))
    assert places(data, "test") == [f"t.jsonl:{line}" for line in range(1, 51)]
    assert len(data.train) + len(data.validation) + len(data.calibration) == 300
    assert data.card["split"]["test"] == "given"


def test_every_row_ends_in_one_split_or_is_named(tmp_path):
    pool = [{"text": text} for text in [*texts(200, 5000), *texts(20), ""]]
    made = [*rows(400), *rows(30), *[{"text": "", "label": "yes"}] * 3, "not json", {"text": "lost"}]
    data = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", made), unlabeled=jsonl(tmp_path / "p.jsonl", pool), max_dropped=0.1)
    removed = [line["removed"] for line in lines(tmp_path / "out/duplicates.jsonl")]
    dropped = [line["place"] for line in lines(tmp_path / "out/dropped.jsonl")]
    kept = [place for split in SPLITS for place in places(data, split)]
    everything = [f"a.jsonl:{line}" for line in range(1, len(made) + 1)] + [f"p.jsonl:{line}" for line in range(1, len(pool) + 1)]
    assert sorted([*kept, *removed, *dropped]) == sorted(everything)
    assert data.card["dropped"] == {"empty text": 4, "invalid JSON": 1, "no label": 1}
    assert lines(tmp_path / "out/dropped.jsonl")[-2] == {"place": "a.jsonl:435", "split": "train", "reason": "no label", "row": '{"text": "lost"}'}


def test_several_files_and_their_sources(tmp_path):
    (tmp_path / "x").mkdir()
    one, two = jsonl(tmp_path / "a.jsonl", rows(100)), jsonl(tmp_path / "x" / "a.jsonl", rows(100, 500))
    data = run(tmp_path, train=[one, two], license="cc0", source="made up")
    names = {place.rpartition(":")[0] for split in SPLITS for place in places(data, split)}
    assert {name.removeprefix(tmp_path.name + "/") for name in names} == {"a.jsonl", "x/a.jsonl"}
    assert [(s["split"], s["rows"], s["dropped"], len(s["sha256"])) for s in data.card["sources"]] == [("train", 100, 0, 64)] * 2
    assert (data.card["license"], data.card["source"]) == ("cc0", "made up")


def test_groups_stay_whole_and_columns_are_kept_for_slices(tmp_path):
    made = [{**row, "family": f"f{i % 40}", "site": i % 3, "extra": "x"} for i, row in enumerate(rows(600))]
    data = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", made), columns={"group": "family"}, slices=["site"])
    of = {}
    for split in SPLITS:
        for row in rows_of(data, split):
            assert of.setdefault(row.group, split) == split
            assert dict(row.columns) == {"site": str((int(row.place.split(":")[1]) - 1) % 3)}
    assert len(of) == 40
    assert sum(data.card["groups"].values()) == 40
    assert data.card["straddling_groups"] == 0


# ------------------------------------------------------------------------------------------------------------- columns
def test_a_wrong_column_names_those_present_and_the_nearest(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("sentence,intent\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows(50)))
    with pytest.raises(DataError, match=r"no column 'text' \(data.columns.text\); there are: sentence, intent"):
        run(tmp_path, train=str(path))
    with pytest.raises(DataError, match=r"no column 'sentense' .*\n  did you mean 'sentence'\?: data.columns.text"):
        run(tmp_path, train=str(path), columns={"text": "sentense", "label": "intent"})
    with pytest.raises(DataError, match=r"no column 'label' \(data.columns.label\); there are: sentence, intent"):
        run(tmp_path, train=str(path), columns={"text": "sentence"})
    with pytest.raises(DataError, match=r"no column 'sight' \(data.slices\)"):
        run(tmp_path, train=str(path), columns={"text": "sentence", "label": "intent"}, slices=["sight"])
    with pytest.raises(UserError, match="no 'txt'"):
        run(tmp_path, train=str(path), columns={"txt": "sentence"})


def test_keys_that_only_some_json_rows_have_are_columns(tmp_path):
    made = [{"label": "yes"}, *rows(200), {"text": "no label here at all"}]
    data = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", made))
    assert data.card["dropped"] == {"no text": 1, "no label": 1}


def test_the_pool_needs_no_labels_and_no_groups_and_keeps_none_of_the_former(tmp_path):
    made = [{**row, "family": f"f{i}"} for i, row in enumerate(rows(200))]
    pool = [{"text": text, "label": float("nan")} for text in texts(50, 900)]
    data = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", made), unlabeled=jsonl(tmp_path / "p.jsonl", pool), columns={"group": "family"}, slices=["family"])
    assert len(data.unlabeled) == 50
    assert {row.gold for row in data.unlabeled} == {row.group for row in data.unlabeled} == {None}
    assert {row.columns["family"] for row in data.unlabeled} == {""}


def test_training_rows_may_lack_labels_where_the_judging_rows_have_them(tmp_path):
    said = []
    data = run(
        tmp_path, said, train=jsonl(tmp_path / "a.jsonl", [{"text": text} for text in texts(100)]),
        test=jsonl(tmp_path / "t.jsonl", rows(40, 500)), validation=jsonl(tmp_path / "v.jsonl", rows(40, 700)),
        calibration=jsonl(tmp_path / "c.jsonl", rows(40, 900)),
    )  # fmt: skip
    assert {row.gold for row in data.train} == {None}
    assert data.card["labels"] == ["no", "yes"]
    assert data.card["has_gold"] == {"train": False, "validation": True, "calibration": True, "test": True, "unlabeled": False}
    assert any("its rows have no gold labels" in text for text in said)


# ------------------------------------------------------------------------------------------------------ too many bad rows
def test_too_many_unusable_rows_stop_the_run_and_are_all_listed(tmp_path):
    bad = [{"text": "", "label": "yes"}] * 5 + [{"text": "a", "label": ""}] * 4 + [{"text": "a", "label": float("nan")}] * 3 + ["{"] * 2
    with pytest.raises(DataError) as caught:
        run(tmp_path, train=jsonl(tmp_path / "a.jsonl", [*rows(100), *bad]))
    message = str(caught.value)
    assert message.startswith("data.train: 14 of 114 rows can't be used, more than the 0.05 that data.max_dropped allows: ")
    assert "empty text: 5 (first at a.jsonl:101); label is empty: 4 (first at a.jsonl:106); label is NaN: 3 (first at a.jsonl:110)" in message
    assert "invalid JSON" not in message
    assert "dropped.jsonl" in message
    assert len(lines(tmp_path / "out/dropped.jsonl")) == 14
    assert len(run(tmp_path, train=str(tmp_path / "a.jsonl"), max_dropped=0.2).train) > 0


def test_a_small_file_of_bad_rows_does_not_hide_behind_a_big_one(tmp_path):
    test = [*rows(20, 900), *[{"text": "", "label": "yes"}] * 20]
    with pytest.raises(DataError, match=r"data\.test: 20 of 40 rows"):
        run(tmp_path, train=jsonl(tmp_path / "a.jsonl", rows(800)), test=jsonl(tmp_path / "t.jsonl", test))


def test_a_10_MB_text_is_one_dropped_row(tmp_path):
    data = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", [*rows(100), {"text": "a " * 5_000_000, "label": "yes"}]))
    assert data.card["dropped"] == {"text over 1 MB": 1}
    assert len(lines(tmp_path / "out/dropped.jsonl")[0]["row"]) <= 200


# --------------------------------------------------------------------------------------------------------------- labels
def files(tmp_path, train, test, validation=None):
    return {
        "train": jsonl(tmp_path / "a.jsonl", train), "test": jsonl(tmp_path / "t.jsonl", test),
        "validation": jsonl(tmp_path / "v.jsonl", validation or rows(20, 7000)), "calibration": jsonl(tmp_path / "c.jsonl", rows(20, 8000)),
    }  # fmt: skip


def test_a_label_of_test_that_training_lacks_is_an_error(tmp_path):
    test = [*rows(20, 900), {"text": "something quite different", "label": "Yes"}]
    with pytest.raises(DataError, match=r"1 labels of test are unknown to training: 'Yes' \(t.jsonl:21\)") as caught:
        run(tmp_path, **files(tmp_path, rows(50), test))
    assert "did you mean 'yes'?" in str(caught.value)


def test_a_label_that_a_split_lacks_is_reported_not_refused(tmp_path):
    said = []
    train = [*rows(60, labels=("yes", "no", "maybe")), {"text": "one of its kind, seen once", "label": "rare"}]
    data = run(tmp_path, said, **files(tmp_path, train, rows(20, 900)))
    assert data.card["missing_labels"] == {name: ["maybe", "rare"] for name in ("validation", "calibration", "test")}
    assert data.card["rare_labels"] == ["rare"]
    assert data.card["by_label"]["test"] == {"maybe": 0, "no": 10, "rare": 0, "yes": 10}
    assert "test has no row of: maybe, rare" in said
    assert "a single training row each have: rare" in said


def test_one_class_only_is_an_error(tmp_path):
    with pytest.raises(DataError, match="all rows have one label, 'yes'"):
        run(tmp_path, train=jsonl(tmp_path / "a.jsonl", rows(200, labels=("yes",))))


def test_numbers_from_json_and_csv_are_the_same_labels(tmp_path):
    made = [{"text": text, "label": i % 2} for i, text in enumerate(texts(100))]
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"{text},{i % 2}\n" for i, text in enumerate(texts(20, 900))))
    data = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", made), test=str(tmp_path / "t.csv"))
    assert data.card["labels"] == ["0", "1"]


def test_no_rows_to_judge_by_is_an_error(tmp_path):
    made = [{**row, "family": "one"} for row in rows(50)]  # a single group: it ends in one split
    with pytest.raises(DataError, match=r"there are no (validation|test) rows"):
        run(tmp_path, train=jsonl(tmp_path / "a.jsonl", made), columns={"group": "family"})


def test_a_file_without_rows_is_an_error(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n")
    with pytest.raises(DataError, match="the file has no rows"):
        run(tmp_path, train=str(tmp_path / "a.csv"))


# ----------------------------------------------------------------------------------------------------------- duplicates
def test_equal_rows_to_learn_from_are_kept_once_and_conflicts_counted(tmp_path):
    train = [*rows(40), {**rows(40)[0], "text": rows(40)[0]["text"].upper() + "  "}, {**rows(40)[2], "label": "no"}]
    pool = [{"text": text} for text in [texts(40)[5], *texts(3, 600), texts(3, 600)[1]]]
    data = run(tmp_path, **files(tmp_path, train, rows(20, 900)), unlabeled=jsonl(tmp_path / "p.jsonl", pool))
    assert len(data.train) == 40
    assert places(data, "unlabeled") == ["p.jsonl:2", "p.jsonl:3", "p.jsonl:4"]
    removed = {line["removed"]: (line["kind"], line["kept"], line["kept_in"]) for line in lines(tmp_path / "out/duplicates.jsonl")}
    assert removed == {
        "a.jsonl:41": ("exact", "a.jsonl:1", "train"), "a.jsonl:42": ("conflict", "a.jsonl:3", "train"),
        "p.jsonl:5": ("exact", "p.jsonl:3", "unlabeled"), "p.jsonl:1": ("exact", "a.jsonl:6", "train"),
    }  # fmt: skip
    assert data.card["duplicates"] == {"exact": 3, "conflict": 1}
    assert data.card["leaks"] == 0


def test_the_judging_splits_keep_their_own_duplicates_and_say_so(tmp_path):
    said = []
    data = run(tmp_path, said, **files(tmp_path, rows(40), [*rows(20, 900), *rows(5, 900)]))
    assert data.test.size == 25
    assert data.card["repeated"] == {"test": 5, "validation": 0, "calibration": 0}
    assert any("5 test rows repeat others" in text for text in said)


def test_pairs_are_the_same_only_field_by_field(tmp_path):
    train = [{"text": "a b", "other": f"c {row['text']}", "label": row["label"]} for row in rows(40)]
    test = [{"text": "a", "other": f"b c {row['text']}", "label": row["label"]} for row in rows(40)]
    paths = files(tmp_path, train, test, [{**row, "other": "o"} for row in rows(20, 7000)])
    jsonl(tmp_path / "c.jsonl", [{**row, "other": "o"} for row in rows(20, 8000)])
    data = run(tmp_path, **paths, columns={"text_pair": "other"}, near_duplicates=0)
    assert len(data.train) == 40


def test_near_duplicates_can_be_let_be(tmp_path):
    near = [{"text": f"{row['text']} and a tail that is long enough to be compared, is it not", "label": row["label"]} for row in rows(20, 900)]
    train = [*rows(40), *({**row, "text": row["text"] + "!"} for row in near)]
    assert len(run(tmp_path, **files(tmp_path, train, near), near_duplicates=0).train) == 60
    assert len(run(tmp_path, **files(tmp_path, train, near)).train) == 40


# ---------------------------------------------------------------------------------------------------------------- limit
def test_a_limit_is_a_sample_by_content_that_added_rows_hardly_change(tmp_path):
    pool = [{"text": text} for text in texts(300, 3000)]
    paths = files(tmp_path, rows(200), rows(20, 900))
    limit = {"train": 50, "unlabeled": 100}
    first = run(tmp_path, **paths, unlabeled=jsonl(tmp_path / "p.jsonl", pool), limit=limit)
    assert (len(first.train), len(first.unlabeled)) == (50, 100)
    chosen = {row.id for row in first.unlabeled}
    more = run(tmp_path, **paths, unlabeled=jsonl(tmp_path / "p.jsonl", [{"text": text} for text in texts(30, 9000)] + pool[::-1]), limit=limit)
    new = {row.id for row in more.unlabeled}
    assert len(chosen - new) <= 25
    assert all(row.fields["text"] in texts(30, 9000) for row in more.unlabeled if row.id not in chosen)
    assert places(first, "train") == sorted(places(first, "train"), key=lambda place: int(place.split(":")[1]))


# -------------------------------------------------------------------------------------------------------------- on disk
def test_the_same_files_give_the_same_bytes(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [*rows(300), *rows(10)])
    run(tmp_path, train=path)
    first = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    run(tmp_path, train=path)
    assert first == {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert set(first) == {f"{split}.jsonl" for split in SPLITS} | {"dropped.jsonl", "duplicates.jsonl", "card.json"}


def test_rows_come_back_as_they_were(tmp_path):
    made = [{"text": row["text"] + "\n\u2028 ünï 😀 \x85 end", "label": row["label"]} for row in rows(100)]
    data = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", made))
    for split in SPLITS:
        for row in rows_of(data, split):
            original = made[int(row.place.split(":")[1]) - 1]
            assert (row.fields["text"], row.gold) == (original["text"], original["label"])
            assert row.id == type(row).make(row.fields).id


def test_twenty_thousand_rows_load_in_half_a_second(tmp_path):
    data = run(tmp_path, train=jsonl(tmp_path / "a.jsonl", rows(20_000)), near_duplicates=0)
    from potstill.dataset.prepare import load

    took = []
    for _ in range(3):
        began = time.process_time()
        load(tmp_path / "out")
        took.append(time.process_time() - began)
    assert min(took) < 2
    assert sum(data.card["counts"].values()) == 20_000


def test_progress_rises_to_its_total(tmp_path):
    seen = []
    log = RunLog(listeners=[lambda event: event["event"] == "progress" and seen.append((event["done"], event["total"]))])
    out = tmp_path / "out"
    out.mkdir()
    prepare(Data(train=jsonl(tmp_path / "a.jsonl", rows(1500))), task("text-classification"), out, log)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (2, 2)


def test_the_card_is_plain_json_with_lengths(tmp_path):
    card = json.loads(json.dumps(run(tmp_path, train=jsonl(tmp_path / "a.jsonl", rows(200))).card, allow_nan=False))
    assert card["length"]["train"]["q0"] <= card["length"]["train"]["q50"] <= card["length"]["train"]["q100"]
    assert sum(card["by_label"]["train"].values()) == card["counts"]["train"]

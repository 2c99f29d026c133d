"""Answers that are really written, in a whole small pipeline: asked once, graded, told, and deciding where the requirement says so."""

from __future__ import annotations

import json
import shutil
from importlib import resources

import jsonschema
import numpy as np
import pyarrow.parquet
import pytest

import potstill
from potstill import storage
from potstill.cli.tables import baseline
from potstill.errors import DataError, TeacherError, UserError
from potstill.explain import diff, why
from potstill.serving.generator import Generator
from potstill.steps import answers
from tests.written import JUDGED, job

KINDS = ("choice", "rouge_l", "exact_match", "callable")
DECIDES = "requirement.quality={metric: choice, max_drop: 0.2}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("judged")


@pytest.fixture(autouse=True)
def _home(place, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(place / "home"))


@pytest.fixture(scope="module")
def finished(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(place / "home"))
        for name, few in (("ENOUGH", 8), ("CALLS", 1), ("ROUNDS", 2)):  # nobody looks at speed here
            patch.setattr(f"potstill.measuring.generation.{name}", few)
        recipe = job(place / "job", recipe=JUDGED, steps=120, train=120)
        return recipe, potstill.distill(recipe, output=place / "run")


@pytest.fixture(scope="module")
def decided(finished, place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(place / "home"))
        shutil.copytree(place / "run", place / "decided")
        return potstill.distill(finished[0], output=place / "decided", overrides=[DECIDES])


def sides(report):
    (student,) = report["students"]
    return {"teacher": report["teacher"], "half": student, "half.control": student["control"]}


def test_the_report_tells_of_every_metric_and_of_how_answers_are_by_side(finished):
    _, run = finished
    jsonschema.validate(run.report, json.loads(resources.files("potstill.report").joinpath("schema.json").read_text("utf-8")))
    assert run.report["generation"] == {"metrics": list(KINDS), "max_new_tokens": 12, "rows": 60, "judged": 60}
    assert run.report["metric"] == run.report["learning_metric"] == "bits_per_byte"
    for name, side in sides(run.report).items():
        told = side["answers"]
        assert tuple(told["metrics"]) == KINDS
        assert set(told["behavior"]) == {"tokens", "stopped", "repetition"}
        assert set(told.get("drops", ())) == (set() if name == "teacher" else set(KINDS))
        for found in (*told["metrics"].values(), *told["behavior"].values(), *told.get("drops", {}).values()):
            assert found["low"] <= found["value"] <= found["high"]
            assert found["n"] == 60
        assert {kind: side["quality"][kind] for kind in KINDS} == {kind: told["metrics"][kind]["value"] for kind in KINDS}
    assert run.report["teacher"]["quality"]["choice"] > 0.9  # it knows its own chain
    assert "choice" not in run.report["baselines"][0]["quality"]  # a floor writes nothing


def test_the_answers_of_test_rows_are_those_of_what_ships_and_are_written_down(finished, place):
    _, run = finished
    table = pyarrow.parquet.read_table(place / "run" / "predictions" / "half.parquet").to_pydict()
    asked = [i for i, answer in enumerate(table["answer"]) if answer is not None]
    assert (len(asked), len(table["id"])) == (60, 80)
    lines = {row["id"]: row for row in map(json.loads, (next((place / "run" / "stages").glob("data-*")) / "test.jsonl").read_text("utf-8").splitlines())}
    fields = [lines[table["id"][i]]["fields"] for i in asked]
    said = Generator.open(place / "run" / "students" / "half" / "artifact").generate(fields, max_tokens=12)
    assert [one.text for one in said] == [table["answer"][i] for i in asked]
    assert [one.finish == "stop" for one in said] == [table["stopped"][i] for i in asked]
    for kind in KINDS:
        assert np.mean([table[kind][i] for i in asked]) == pytest.approx(run.report["students"][0]["quality"][kind])
    assert [row["completion"] for row in fields] == [table["reference"][i] for i in asked]
    floor = pyarrow.parquet.read_table(place / "run" / "predictions" / "floor.parquet").to_pydict()
    assert set(floor["answer"]) == {None}


def test_a_row_shows_its_answers_and_two_runs_are_compared_by_them(finished, decided, place):
    table = pyarrow.parquet.read_table(place / "run" / "predictions" / "half.parquet").to_pydict()
    at = next(i for i, answer in enumerate(table["answer"]) if answer)
    told = {one["who"]: one for one in why(place / "run", table["place"][at])["answers"]}
    assert told["half"]["label"].startswith(json.dumps(table["answer"][at], ensure_ascii=False))
    assert told["half"]["right"] is (table["exact_match"][at] > 0)
    assert told["floor"]["right"] is None
    found = diff(place / "run", place / "decided")
    assert (found["metric"], found["n"]) == ("exact_match", 60)
    assert {pair["difference"] for pair in found["pairs"]} == {0.0}


def test_the_page_has_a_table_of_them_and_says_which_metric_training_went_by(finished, decided, place):
    page = (place / "decided" / "report.html").read_text("utf-8")
    for shown in (
        "Written answers",
        "right choices",
        "ROUGE-L",
        "ended by themselves",
        "Validation minus bits per byte",
        "60\N{NARROW NO-BREAK SPACE}test rows",
    ):
        assert shown in page


def test_a_requirement_about_written_answers_is_decided_by_them(decided):
    (student,) = decided.report["students"]
    check = student["checks"][0]
    assert (check["name"], check["unit"], check["n"]) == ("quality", "drop in choice", 60)
    assert "Tango" in check["note"]  # each prompt stands there once, so rows are what is independent
    assert check["value"] == student["quality_drop"]["value"] == student["answers"]["drops"]["choice"]["value"]
    assert decided.report["verdict"]["decision"] == "ship"
    assert (decided.report["metric"], decided.report["learning_metric"]) == ("choice", "bits_per_byte")
    assert decided.report["verdict"]["read"] == 2
    assert student["gain_floor"] is None


def test_nothing_is_trained_again_for_it_and_nobody_asked_twice(finished, decided, place):
    trained = {folder: {p.name for p in (place / folder / "stages").glob("train.*")} for folder in ("run", "decided")}
    assert trained["run"] == trained["decided"]
    again = potstill.distill(finished[0], output=place / "decided", overrides=[DECIDES])
    assert again.report["cost"]["last"] == {"teacher_calls": 0, "cached_calls": 0}
    for stage in (place / "decided" / "stages").glob("written.*.teacher-*"):
        shutil.rmtree(stage)
    store = potstill.distill(finished[0], output=place / "decided", overrides=[DECIDES])
    assert store.report["cost"]["last"]["teacher_calls"] == 0  # the label store holds what it wrote
    assert store.report["cost"]["last"]["cached_calls"] > 0
    assert store.report["fingerprint"] == again.report["fingerprint"]


def test_the_registration_holds_how_answers_are_graded_and_comes_before_them(finished, place):
    registered = storage.read_json(place / "run" / "registration.json")["analysis"]["generation"]
    assert [metric["kind"] for metric in registered["metrics"]] == list(KINDS)
    assert len(registered["function"]) == 64
    assert not any("folder" in metric for metric in registered["metrics"])
    order = [json.loads(line) for line in (place / "run" / "events.jsonl").read_text("utf-8").splitlines()]
    read = next(i for i, event in enumerate(order) if event["event"] == "test.read")
    wrote = [i for i, event in enumerate(order) if str(event.get("stage")).startswith("answers.test.")]
    assert wrote
    assert min(wrote) > read


def test_a_teacher_that_writes_nothing_right_is_not_learnt_from(finished, place):
    never = ["generation.metrics=[choice, {kind: exact_match, extract: nobody says this}]", "requirement.quality={metric: exact_match, max_drop: 0.2}"]
    with pytest.raises(TeacherError, match=r"exact_match 0\.000 on 60 validation rows, who guesses has 0\.000") as met:
        potstill.distill(finished[0], output=place / "measured", overrides=never, until="train")
    assert met.value.place == "requirement.quality.metric"
    assert not list((place / "measured" / "stages").glob("train.*"))


def test_measure_shows_what_the_teacher_writes(finished, place):
    run = potstill.distill(finished[0], output=place / "measured", overrides=[DECIDES], until="measure")
    assert run.report["answers"]["metrics"]["choice"]["n"] == 58  # two prompts stand there twice, and groups are what is independent
    shown = baseline(run.report)
    assert "what it writes itself to validation rows" in shown
    assert "repetition" in shown


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no module 'grades2'"),
        ("def other(row, answer): return 1\n", "'grades2' has no function 'grade'"),
        ("import nothing_of_the_kind\n", "the module can't be loaded: ModuleNotFoundError"),
        ("def grade(row, answer): return 2\n", "the function 'grades2:grade' returned 2"),
        ("def grade(row, answer): return row['label']\n", "the function 'grades2:grade' failed: KeyError"),
    ],
)
def test_a_function_that_can_not_grade_is_met_with_its_place(finished, place, text, says):
    path = place / "job" / "grades2.py"
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text, "utf-8")
    change = "generation.metrics=[choice, {kind: callable, function: 'grades2:grade', version: 1}]"
    with pytest.raises(UserError, match=says) as met:
        potstill.distill(finished[0], output=place / "measured", overrides=[change], until="measure")
    assert met.value.place
    assert met.value.remedy or "ModuleNotFound" in says


def test_rows_that_ask_nothing_are_refused_before_anything_is_asked(finished, place):
    recipe = place / "job" / "plain.yaml"
    rows = [{"text": f"one two three {n}"} for n in range(60)]
    for name in ("train", "validation", "calibration", "test"):
        (place / "job" / f"plain-{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    text = JUDGED.replace(", columns: {options: options}", "").replace("metrics: [choice, ", "metrics: [").replace("data: {train: ", "data: {train: plain-")
    recipe.write_text(text, "utf-8")
    with pytest.raises(DataError, match="plain text asks nothing") as met:
        potstill.distill(recipe, output=place / "plain", until="measure")
    assert "plain-train.jsonl:1" in met.value.place


def test_an_option_stands_where_the_answer_stood_with_its_blanks():
    fields = {"prompt": "a", "completion": " yes\n", "options": ["yes", " no "]}
    assert answers._answered(fields, " no ") == {"prompt": "a", "completion": " no\n"}
    turns = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "yes"}], "options": ["yes", "no"]}
    assert answers._answered(turns, "no")["messages"][-1] == {"role": "assistant", "content": "no"}

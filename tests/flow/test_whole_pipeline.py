"""One whole small pipeline: three kinds of student from a recipe to a bundle and a page; then again, without a call."""

from __future__ import annotations

import json
import subprocess
import sys

import jsonschema
import pytest

import potstill
from potstill.runlog import RunLog
from tests.small import job


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        recipe = job(folder / "job")
        log = RunLog()
        run = potstill.distill(recipe, output=folder / "run", log=log)
    return folder, run


@pytest.fixture
def home(finished, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(finished[0] / "home"))


def test_the_run_folder_holds_what_the_contract_says(finished):
    _, run = finished
    for name in ("recipe.yaml", "events.jsonl", "students/half/artifact/model.onnx", "report.json", "report.html", "bundle/manifest.json", "manifest.json"):
        assert (run.folder / name).is_file(), name
    assert {p.stem for p in (run.folder / "predictions").iterdir()} >= {"teacher", "half", "static", "ngram"}


def test_the_report_follows_its_schema(finished):
    _, run = finished
    from importlib import resources

    schema = json.loads(resources.files("potstill.report").joinpath("schema.json").read_text())
    jsonschema.validate(json.loads((run.folder / "report.json").read_text()), schema)


def test_the_counts_add_up(finished):
    _, run = finished
    report = run.report
    rows = {name: report["data"][name] for name in ("train", "validation", "calibration", "test", "unlabeled")}
    assert rows == {"train": 300, "validation": 250, "calibration": 250, "test": 400, "unlabeled": 300}
    changed = {arm["arm"]: arm["n"] for arm in report["robustness"]["arms"]}
    assert changed == {"typos": 400, "upper_case": 400, "lower_case": 0, "whitespace": 400, "truncation": 400}
    assert report["cost"]["teacher_calls"] == sum(rows.values()) + sum(changed.values())  # each row asked exactly once, each changed one too
    assert report["cost"]["possibly_paid"] == 0
    assert report["data"]["test_reads"] == 1


def test_every_student_has_its_control_and_its_intervals(finished):
    _, run = finished
    for student in run.report["students"]:
        assert student["control"]["gain"]["low"] <= student["control"]["gain"]["value"] <= student["control"]["gain"]["high"]
        assert student["quality_drop"]["low"] <= student["quality_drop"]["value"] <= student["quality_drop"]["high"]
        assert student["size_bytes"] > 0
        assert student["latency_ms"]["p50"] > 0
        for entry in student["robustness"]:
            assert entry["loss"]["low"] <= entry["loss"]["value"] <= entry["loss"]["high"]
            assert entry["difference"]["value"] == pytest.approx(entry["loss"]["value"] - entry["teacher_loss"]["value"])
        assert len(student["robustness"]) == len(student["control"]["robustness"]) == len(run.report["teacher"]["robustness"]) == 4
    assert {b["name"] for b in run.report["baselines"]} >= {"majority"}
    assert run.report["verdict"]["decision"] in ("ship", "do-not-ship", "inconclusive")


def test_run_again_it_asks_nothing_and_loads_nothing_heavy(finished, home):
    folder, run = finished
    program = (
        "import sys, time, potstill\n"
        f"run = potstill.distill({str(folder / 'job' / 'recipe.yaml')!r}, output={str(run.folder)!r})\n"
        "print(run.report['cost']['last'], sorted({'torch', 'transformers', 'sklearn', 'onnxruntime'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-1500:]
    assert "'teacher_calls': 0" in result.stdout
    assert result.stdout.strip().endswith("[]")


def test_another_recipe_over_the_same_teacher_pays_for_no_label_twice(finished, home, tmp_path):
    folder, _ = finished
    run = potstill.distill(folder / "job" / "recipe.yaml", output=tmp_path / "other", overrides=["students.ngram.dimensions=8"], until="label")
    events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    assert not [e for e in events if e["event"] == "stage.start" and e["stage"] == "adapt"]
    usage = json.loads(next((run.folder / "stages").glob("label-*/result.json")).read_text())["usage"]
    assert (usage["teacher_calls"], usage["cached_calls"]) == (0, 600)


def test_students_are_tested_in_the_order_that_was_registered(finished):
    _, run = finished
    registered = json.loads((run.folder / "registration.json").read_text())["analysis"]["order"]
    tested = {student["name"] for student in run.report["students"] if student["tested"]}
    assert tested == set(registered[: len(tested)])
    score = {student["name"]: student["validation_score"] for student in run.report["students"]}
    assert [score[name] for name in registered] == sorted(score.values(), reverse=True)


def test_the_bundles_card_is_written_anew_where_a_license_changes_and_names_no_folder(finished, home):
    folder, run = finished
    card = run.folder / "bundle" / "README.md"
    assert "cc0-1.0" not in card.read_text().lower()
    again = potstill.distill(folder / "job" / "recipe.yaml", output=run.folder, overrides=["teacher.output_license=cc0-1.0"])
    assert again.report["verdict"] == run.report["verdict"]
    assert again.report["cost"]["last"]["teacher_calls"] == 0
    assert "cc0-1.0" in card.read_text().lower()
    assert str(folder) not in card.read_text()

"""Whole small pipelines over other teachers: an ONNX file, a function, an ensemble, and a model whose precision is probed."""

from __future__ import annotations

import functools
import json
from importlib import resources

import jsonschema
import pytest
import yaml

import potstill
from potstill.errors import TeacherError
from potstill.labels import LabelStore
from potstill.measuring import measure
from potstill.recipe.teacher import ModelTeacher
from potstill.runlog import RunLog
from potstill.steps.ready import Ready
from tests import tiny
from tests.small import CUES, job

STUDENTS = [{"name": "ngram", "kind": "ngram", "buckets": 1024, "dimensions": 16, "epochs": 2, "learning_rate": 3.0e-2}]
MODEL = {"kind": "model", "model": "encoder", "adapt": {"how": "finetune", "epochs": 12, "learning_rate": 2.0e-3}, "max_length": 32}
FUNCTION = f"""
CUES = {CUES!r}

def by_cues(rows):
    counts = [{{label: 0.1 + sum(word in cues for word in row["text"].split()) for label, cues in CUES.items()}} for row in rows]
    return [{{label: n / sum(count.values()) for label, n in count.items()}} for count in counts]

def silent(rows):
    raise ConnectionError("nobody there")
"""
CALLABLE = {"kind": "callable", "function": "answers_by_cues:by_cues", "version": "1", "license": "mit", "output_license": "mit", "usd_per_1000": 0.5}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A job, a home that all runs of this file share, and an ONNX file of the adapted model."""
    folder = tmp_path_factory.mktemp("teachers")
    job(folder, test=300)
    (folder / "answers_by_cues.py").write_text(FUNCTION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        patch.setattr(measure, "measure", functools.partial(measure.measure, budget_s=4))
        run(folder, "adapted", MODEL, until="measure")
        (adapted,) = (folder / "home" / "stages").glob("adapt-*/model")
        tiny.graph(adapted, folder / "onnx" / "teacher.onnx")
        yield folder


@pytest.fixture(autouse=True)
def _home(world, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(world / "home"))


def run(folder, name, teacher, *, students=STUDENTS, said=None, **options):
    recipe = {**yaml.safe_load((folder / "recipe.yaml").read_text()), "name": name, "teacher": teacher, "students": students}
    recipe["robustness"] = {"ask_teacher": False}  # whose calls would depend on the texts that could be changed
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    log = RunLog(listeners=[lambda event: said.append(event.get("text", ""))] if said is not None else [])
    return potstill.distill(folder / f"{name}.yaml", output=folder / "runs" / name, log=log, **options)


TEACHERS = {
    "onnx": {"kind": "onnx", "model": "onnx/teacher.onnx", "max_length": 32, "output_license": "mit"},
    "callable": CALLABLE,
    "ensemble": {"kind": "ensemble", "members": [MODEL, {"kind": "onnx", "model": "onnx/teacher.onnx", "max_length": 32}, CALLABLE], "weights": [1, 1, 2]},
}


@pytest.mark.parametrize("kind", TEACHERS)
def test_from_the_recipe_to_the_bundle(world, kind):
    report = run(world, kind, TEACHERS[kind]).report
    jsonschema.validate(report, json.loads(resources.files("potstill.report").joinpath("schema.json").read_text()))
    teacher = report["teacher"]
    assert teacher["kind"] == kind
    assert teacher["quality"]["accuracy"] > 0.6
    if kind == "onnx":
        assert teacher["throughput_per_s"] > 0
        assert teacher["latency_ms"]["p50"] > 0
        assert report["students"][0]["speedup"]["throughput"]["value"] > 0
    else:  # the function has a price: timing would spend it, past the budget
        assert teacher["throughput_per_s"] is None
        assert "costs money" in report["unmeasured"]["teacher.throughput_per_s"]
    assert report["cost"]["teacher_calls"] == sum(report["data"][name] for name in ("train", "validation", "calibration", "test", "unlabeled"))
    assert (world / "runs" / kind / "bundle" / "manifest.json").is_file()
    known = kind == "onnx"
    assert ((teacher["parameters"] is not None), (teacher["size_bytes"] is not None)) == (known, known)
    assert {key for key in ("teacher.parameters", "teacher.size_bytes") if key in report["unmeasured"]} == (
        set() if known else {"teacher.parameters", "teacher.size_bytes"}
    )
    again = run(world, kind, TEACHERS[kind]).report
    assert again["cost"]["last"]["teacher_calls"] == 0
    assert again["fingerprint"] == report["fingerprint"]


def test_the_members_of_an_ensemble_share_what_others_were_told(world):
    run(world, "ensemble", TEACHERS["ensemble"], until="label")
    before = _calls(world)
    alone = run(world, "callable-after", TEACHERS["callable"], until="label")
    assert _calls(world) == before
    usage = json.loads(next((alone.folder / "stages").glob("label-*/result.json")).read_text())["usage"]
    assert (usage["teacher_calls"], usage["cached_calls"]) == (0, 600)


def _calls(world):
    with LabelStore(world / "home" / "labels") as store:
        return store.index.query("SELECT COUNT(*) FROM shards")


def test_a_teacher_that_never_answers_stops_the_run_with_its_words(world):
    with pytest.raises(TeacherError, match=r"none of 250 validation rows(?s:.*)ConnectionError: nobody there"):
        run(world, "silent", {**CALLABLE, "function": "answers_by_cues:silent"})


@pytest.mark.parametrize("precision", ["onnx-fp32", "onnx-int8"])
def test_a_models_graph_answers_as_the_model(world, precision):
    plain = run(world, "adapted", MODEL, until="measure").report
    quick = run(world, precision, {**MODEL, "precision": precision}, until="measure").report
    assert quick["teacher"]["precision"] == precision
    assert quick["teacher"]["parameters"] == plain["teacher"]["parameters"]
    assert quick["validation"]["teacher"]["accuracy"] == pytest.approx(plain["validation"]["teacher"]["accuracy"], abs=0.02)


def test_auto_says_what_it_chose_and_why(world):
    said = []
    report = run(world, "auto", {**MODEL, "precision": "auto"}, said=said, until="measure").report
    probe = report["teacher"]["precision_probe"]
    assert probe["rows"] == 600
    assert set(probe["tried"]) | set(probe["left_out"]) == {"fp32", "bf16", "onnx-fp32", "onnx-int8"}
    assert probe["tried"]["onnx-fp32"]["same"] == 1.0
    assert probe["tried"][probe["chosen"]]["same"] >= 0.995
    assert report["teacher"]["precision"] == probe["chosen"]
    assert any(probe["chosen"] in text and "of fp32's answers" in text for text in said)
    again = []
    run(world, "auto-again", {**MODEL, "precision": "auto"}, said=again, until="measure")  # another run: the probe is shared
    assert not any(text.startswith("looking for") for text in again)


def test_auto_keeps_to_torch_where_hidden_states_are_needed(world):
    students = [{"name": "half", "kind": "transformer", "layers": 1, "epochs": 1, "objectives": [{"kind": "logits"}, {"kind": "hidden"}]}]
    report = run(world, "deep", {**MODEL, "precision": "auto"}, students=students, until="measure").report
    assert report["teacher"]["precision"] in ("fp32", "bf16")
    assert "'hidden'" in report["teacher"]["precision_probe"]["left_out"]["onnx-fp32"]


def test_what_was_chosen_for_asking_is_not_what_the_teacher_is_timed_in(tmp_path):
    spec = ModelTeacher(model="m", precision="onnx-int8")
    named, chosen = Ready(spec, "f", graph=tmp_path), Ready(spec, "f", graph=tmp_path, probe={"chosen": "onnx-int8"})
    assert named.today() == named  # its users say that they run it so
    assert (chosen.today().spec.precision, chosen.today().graph) == ("fp32", None)
    assert Ready(spec, "e", members=(named, chosen)).today().members == (named, chosen.today())

"""A whole small pipeline with students that are no transformers: convolutional, recurrent, trees; each from a recipe to answers."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources

import jsonschema
import numpy as np
import pytest

import potstill
from potstill import lookup, storage
from potstill.errors import MissingExtraError
from potstill.runlog import RunLog
from potstill.serving.predictor import Predictor
from tests.small import RECIPE, job

STUDENTS = """students:
  - {name: cnn, kind: convolutional, dimensions: 16, widths: [1, 2, 3], filters: 16, dropout: 0.1, epochs: 4, learning_rate: 1.0e-2}
  - {name: lstm, kind: recurrent, from: scratch, dimensions: 16, hidden: 12, dropout: 0.1, epochs: 4, learning_rate: 2.0e-2}
  - {name: forest, kind: trees, buckets: 512, char_ngrams: null, rounds: 30, leaves: 7, patience: 10}
"""
NAMES = ("cnn", "lstm", "forest")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(the folder of the job, a run of all three, a run of the trees alone, whose bundle is theirs)"""
    folder = tmp_path_factory.mktemp("job")
    before, _, after = RECIPE.partition("students:\n")
    recipe = before + STUDENTS + after[after.index("requirement:") :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        path = job(folder / "job", recipe=recipe)
        run = potstill.distill(path, output=folder / "run")
        alone = STUDENTS.splitlines()[-1].removeprefix("  - ")
        path.with_name("trees.yaml").write_text(before + f"students: [{alone}]\n" + after[after.index("requirement:") :], "utf-8")
        return folder, run, potstill.distill(path.with_name("trees.yaml"), output=folder / "trees")


def test_every_kind_learns_is_controlled_and_measured(finished):
    report = finished[1].report
    jsonschema.validate(report, json.loads(resources.files("potstill.report").joinpath("schema.json").read_text()))
    majority = next(b for b in report["baselines"] if b["name"] == "majority")
    assert {student["name"] for student in report["students"]} == set(NAMES)
    for student in report["students"]:
        assert student["quality"]["accuracy"] > majority["quality"]["accuracy"] + 0.2, student["name"]
        assert student["control"]["gain"]["low"] <= student["control"]["gain"]["high"]
        assert student["parameters"] > 0
        assert student["latency_ms"]["p50"] > 0


def test_what_ships_is_what_was_trained(finished):
    for name in NAMES:
        for path in (finished[1].folder / "stages").glob(f"export.{name}.*/result.json"):
            for step in storage.read_json(path)["steps"]:
                if step["precision"] == "fp32":
                    assert step["parity"]["max_abs_diff"] < 1e-5, path
                    assert step["parity"]["neighbor_diff"] < 1e-5, path
                assert step["parity"]["label_flips"] == 0 or step["precision"] == "int8", path


def test_both_arms_of_the_trees_have_the_same_plan(finished):
    found = [storage.read_json(path) for path in (finished[1].folder / "stages").glob("train.forest.*/result.json")]
    assert len(found) == 2
    assert found[0]["plan"] == found[1]["plan"] == {"rounds": 30, "leaves": 7, "patience": 10, "learning_rate": 0.2}


def test_a_student_of_each_kind_is_told_of_objectives_that_it_can_not_use(finished, tmp_path):
    folder, *_ = finished
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        path = folder / "job" / "hidden.yaml"
        students = "students:\n  - {name: half, kind: transformer, layers: 1, epochs: 1}\n" + STUDENTS.partition("\n")[2].replace("epochs: 4", "epochs: 1")
        before, _, after = RECIPE.partition("students:\n")
        path.write_text(before + students + "objectives: [{kind: logits}, {kind: hidden}]\n" + after[after.index("requirement:") :], "utf-8")
        potstill.distill(path, output=tmp_path, until="train", log=RunLog(listeners=[said.append]))
    told = {event.get("text") for event in said}
    for name in NAMES:
        assert f"'{name}' can't use the objective 'hidden': it is left out for this student" in told


def test_a_trees_bundle_answers_without_torch_and_without_its_library(finished):
    run = finished[2]
    blocked = ("torch", "lightgbm", "scipy", "sklearn", "transformers", "accelerate", "safetensors", "pyarrow", "onnx")
    texts = ["good film and very great", "fever of the blood", "", "日本語 text", "bad " * 500]
    program = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {blocked}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from potstill.cli.main import main\n"
        f"code = main(['predict', {str(run.folder / 'bundle')!r}])\n"
        f"assert not set({blocked}) & set(sys.modules)\n"
        "sys.exit(code)"
    )
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    done = subprocess.run([sys.executable, "-c", program], input=lines, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-1500:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    predictor = Predictor.open(run.folder / "bundle")
    logprobs = predictor.predict([{"text": text} for text in texts])
    assert [answer["label"] for answer in answers] == predictor.decide(logprobs)
    np.testing.assert_allclose([answer["score"] for answer in answers], np.exp(logprobs.max(1)), atol=1e-4)


def test_a_missing_library_is_named_before_the_teacher_is_asked(finished, tmp_path, monkeypatch):
    folder, *_ = finished
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))
    find = lookup.importlib.util.find_spec
    monkeypatch.setattr(lookup.importlib.util, "find_spec", lambda name, *more: None if name == "lightgbm" else find(name, *more))
    with pytest.raises(MissingExtraError, match=r"pip install 'potstill\[trees\]'"):
        potstill.distill(folder / "job" / "trees.yaml", output=tmp_path / "run")
    assert not list((tmp_path / "run").glob("stages/*"))

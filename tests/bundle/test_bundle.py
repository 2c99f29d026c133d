"""A bundle says what it is, and tells when it is no longer that."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import yaml

from potstill import storage
from potstill.bundle import probes as probing
from potstill.bundle.read import read
from potstill.bundle.verify import replay, verify
from potstill.bundle.write import write
from potstill.errors import BundleError, DiskError
from potstill.records import Artifact
from potstill.serving.predictor import Predictor
from tests.serving.graphs import LABELS, artifact

FACTS = {
    "name": "tickets: half", "task": "text-classification", "fields": ["text"], "summary": "It is shown to meet its requirement.",
    "loader": "# Title\n\nWith numpy:\n\n```python\n# a comment\nprint(1)\n```", "figures": [["accuracy", "0.91", "0.90 to 0.92", "1000"]],
    "checks": [["quality", "0.02", "0.01", "0 to 0.015", "1000", "pass"]], "provenance": ["teacher: t", "data: d"],
    "licenses": {"data": "cc0-1.0", "teacher weights": "apache-2.0", "teacher outputs": "unknown"},
    "limits": ["of this machine | and no other"], "command": "potstill run recipe.yaml",
}  # fmt: skip
ROWS = [{"text": "one two"}, {"text": "five", "other": "never stored"}]


@pytest.fixture
def source(tmp_path):
    return artifact(tmp_path / "source", temperature=1.5)


def packed(folder, source, *, precision="fp32", facts=FACTS, rows=ROWS):
    predictor = Predictor.open(source)
    write(
        folder, Artifact(source, precision, storage.size_of(source), storage.sha256_folder(source)), facts=facts, calibration={"temperature": 1.5, "ece": 0.01},
        rows=rows, fields=predictor.fields, labels=predictor.labels, predict=predictor.predict, decide=predictor.decide, made_from="abc",
    )  # fmt: skip
    return folder


@pytest.fixture
def bundle(tmp_path, source):
    return packed(tmp_path / "bundle", source)


def test_it_holds_all_that_ships_and_answers_where_it_stands(bundle, source):
    assert {path.name for path in bundle.iterdir()} == {
        "artifact.json", "model.onnx", "labels.json", "calibration.json", "probes.json", "README.md", "requirements.txt", "manifest.json",
    }  # fmt: skip
    rows = [{"text": "one"}]
    np.testing.assert_array_equal(Predictor.open(bundle).predict(rows), Predictor.open(source).predict(rows))
    assert verify(bundle, Predictor.open) == []
    listed = storage.read_manifest(bundle)
    assert set(listed["files"]) == {path.name for path in bundle.iterdir()} - {"manifest.json"}
    assert listed["made_from"] == "abc"


def test_its_papers_can_be_read(bundle):
    found = read(bundle)
    assert found.labels == LABELS
    assert found.calibration == {"temperature": 1.5, "ece": 0.01}
    assert found.front["license"] == "apache-2.0"
    assert found.front["pipeline_tag"] == "text-classification"
    assert found.manifest["artifact"]
    names = [probe.name for probe in found.probes.probes]
    assert {"empty", "longest", "greek", "chinese", "arabic", "emoji", "validation 0", "validation 1"} <= set(names)
    by_name = {probe.name: probe for probe in found.probes.probes}
    assert by_name["empty"].fields == {"text": ""}
    assert by_name["validation 1"].fields == {"text": "five"}
    assert max(len(probe.fields["text"]) for probe in found.probes.probes) >= 10_000
    said = Predictor.open(bundle).predict([by_name["longest"].fields])
    np.testing.assert_allclose(said[0], by_name["longest"].logprobs, rtol=1e-4, atol=1e-6)


def test_the_card_tells_what_people_must_know(bundle):
    text = (bundle / "README.md").read_text("utf-8")
    _, front, card = text.split("---\n", 2)
    assert yaml.safe_load(front)["tags"]
    for part in ("tickets: half", "shown to meet", "potstill predict", "cc0-1.0", "teacher outputs: unknown", "0.90 to 0.92", "potstill run recipe.yaml"):
        assert part in card
    assert card.count("\n# ") == 2  # its own title, and the comment in the loader's code
    assert "### Title" in card
    assert "\n# a comment" in card


def test_the_card_s_code_runs(bundle, monkeypatch, capsys):
    text = (bundle / "README.md").read_text("utf-8")
    monkeypatch.chdir(bundle)
    exec(text.partition("```python\n")[2].partition("```")[0], {})
    assert any(label in capsys.readouterr().out for label in LABELS)


def test_labels_with_odd_characters_survive_the_card(tmp_path, source):
    facts = {**FACTS, "figures": [["a|b\nc", "1", "", ""]], "checks": [], "loader": None, "name": "x\ny"}
    card = read(packed(tmp_path / "b", source, facts=facts)).card
    assert "| a\\|b c | 1 |" in card
    assert "# x y\n" in card
    assert "The requirement" not in card
    assert "Without potstill" not in card


@pytest.mark.parametrize("name", ["model.onnx", "artifact.json", "labels.json", "probes.json", "README.md", "requirements.txt", "calibration.json"])
def test_a_changed_and_a_missing_file_are_named(bundle, name):
    path = bundle / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (problem,) = verify(bundle, Predictor.open)
    assert problem.place.endswith(name)
    assert "changed" in problem.message
    path.unlink()
    (problem,) = verify(bundle, Predictor.open)
    assert problem.place.endswith(name)
    assert "missing" in problem.message


def test_a_change_that_keeps_size_and_time_is_seen(bundle):
    path = bundle / "model.onnx"
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - 10**10))  # old enough for any cache of hashes to remember it
    assert verify(bundle, Predictor.open) == []
    storage.sha256_file(path)
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    with path.open("r+b") as file:  # the same inode
        file.write(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert [problem.place for problem in verify(bundle, Predictor.open)] == [str(path)]


def test_what_does_not_belong_is_named(bundle):
    (bundle / "sub").mkdir()
    (bundle / "sub" / "more.bin").write_text("x")
    (bundle / "gone").symlink_to("nowhere")
    assert [problem.place for problem in verify(bundle, Predictor.open)] == [str(bundle / "gone"), str(bundle / "sub/more.bin")]


def changed_manifest(bundle, **more):
    storage.write_json(bundle / "manifest.json", {**storage.read_manifest(bundle), **more})


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"schema": 2}, "newer potstill"),
        ({"kind": "stage"}, "not a bundle's"),
        ({"files": None}, "does not list"),
        ({"files": {"../../etc/passwd": {"sha256": ""}}}, "does not list"),
        ({"files": {"/etc/passwd": {"sha256": ""}}}, "does not list"),
        ({"files": {"model.onnx": {}}}, "does not list"),
    ],
)
def test_a_manifest_that_can_t_be_is_refused(bundle, more, match):
    changed_manifest(bundle, **more)
    with pytest.raises(BundleError, match=match):
        verify(bundle, Predictor.open)


def test_no_bundle_and_a_broken_manifest(bundle, tmp_path):
    with pytest.raises(BundleError, match="no bundle here"):
        verify(tmp_path, Predictor.open)
    (bundle / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="can't be read"):
        verify(bundle, Predictor.open)


@pytest.mark.parametrize("probes", [[], {"schema": 1}, {"schema": 1, "probes": [{}], "made_on": {}, "precision": "fp32"}, {"schema": 9}])
def test_probes_that_can_t_be_read_are_refused(bundle, probes):
    storage.write_json(bundle / "probes.json", probes)
    with pytest.raises(BundleError, match=r"probes\.json"):
        replay(bundle, Predictor.open(bundle))


class Other:
    """A predictor that answers as another machine might."""

    labels = LABELS

    def __init__(self, bundle, change):
        self.own, self.change = Predictor.open(bundle), change
        self.thresholds = self.own.thresholds

    def predict(self, rows):
        return self.change(self.own.predict(rows).copy())

    def decide(self, said):
        return self.own.decide(said)


def test_rounding_is_forgiven_here_and_more_of_it_elsewhere(tmp_path, source, monkeypatch):
    bundle = packed(tmp_path / "b", source, precision="int8")

    def off(by):
        return replay(bundle, Other(bundle, lambda said: said + np.float32(by)))

    assert off(5e-4) == []
    assert "off by" in off(2e-3)[0].message
    monkeypatch.setattr(probing, "runtime", lambda: {"machine": "other"})
    assert off(5e-2) == []
    assert len(off(0.2)) == len(read(bundle).probes.probes)


def test_another_decision_is_a_problem_unless_it_was_a_tie(bundle):
    probes = storage.read_json(bundle / "probes.json")
    assert replay(bundle, Predictor.open(bundle)) == []
    for probe in probes["probes"]:
        probe["label"] = "maybe" if probe["label"] != "maybe" else "no"
    storage.write_json(bundle / "probes.json", probes)
    named = {problem.place for problem in replay(bundle, Predictor.open(bundle))}
    assert "probe 'validation 0'" in named
    assert "probe 'empty'" not in named  # all three scores are 0: a tie


def test_answers_that_are_no_numbers_are_a_problem(bundle):
    found = replay(bundle, Other(bundle, lambda said: said * np.nan))
    assert len(found) == len(read(bundle).probes.probes)
    assert len(replay(bundle, Other(bundle, lambda said: said[:, :2]))) == len(found)


def test_a_bundle_without_probes_proves_nothing(bundle):
    storage.write_json(bundle / "probes.json", {**storage.read_json(bundle / "probes.json"), "probes": []})
    assert "no probes" in replay(bundle, Predictor.open(bundle))[0].message


def test_a_full_disk_leaves_the_old_bundle(bundle, source, monkeypatch):
    before = (bundle / "manifest.json").read_bytes()
    monkeypatch.setattr(storage, "_counts", {})
    monkeypatch.setenv("POTSTILL_FULL_AT", "bundle.manifest.before")
    with pytest.raises(DiskError):
        packed(bundle, source)
    assert (bundle / "manifest.json").read_bytes() == before
    assert verify(bundle, Predictor.open) == []


def test_written_twice_it_is_the_same(bundle, source, tmp_path):
    again = packed(tmp_path / "again", source)
    assert json.loads((again / "manifest.json").read_text()) == json.loads((bundle / "manifest.json").read_text())


def test_the_processor_is_named_by_what_kernels_are_chosen_by():
    told = probing.runtime()
    assert told["onnxruntime"] != "none"
    assert told == probing.runtime()

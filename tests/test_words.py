"""Layer 0: hashes, atomic writes, locks, the stage cache, the run log, names and seeds."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill import errors, lookup, rng, storage
from potstill.cache import Cache
from potstill.records import Example, Registration, SealedSplit, Split, Want, rows_digest
from potstill.runlog import RunLog


@given(st.dictionaries(st.text(), st.text()))
def test_an_id_depends_on_the_fields_alone(fields):
    one = Example.make(fields, gold="a", place="x:1")
    other = Example.make(dict(reversed(fields.items())), gold="b", group="g", place="y:2")
    assert one.id == other.id


def test_a_field_more_is_another_example():
    assert Example.make({"text": "a"}).id != Example.make({"text": "a", "text_pair": ""}).id


def test_a_files_hash_follows_its_content_though_size_and_time_stay(tmp_path):
    path = tmp_path / "f"
    path.write_text("one")
    first = storage.sha256_file(path)
    stat = path.stat()
    path.write_text("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert storage.sha256_file(path) != first  # both were written within the clock's grain: not remembered


def test_an_old_files_hash_is_remembered(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_text("one")
    os.utime(path, (1, 1))
    first = storage.sha256_file(path)
    monkeypatch.setattr(storage.hashlib, "file_digest", None)  # reading it again would fail
    assert storage.sha256_file(path) == first


@pytest.mark.parametrize("point", ["file.before", "file.after"])
def test_a_kill_while_writing_leaves_the_old_or_the_new(tmp_path, point):
    path = tmp_path / "f.json"
    storage.write_json(path, {"v": 1})
    program = f"from pathlib import Path; from potstill import storage; storage.write_json(Path({str(path)!r}), {{'v': 2}})"
    result = subprocess.run([sys.executable, "-c", program], env={**os.environ, "POTSTILL_KILL_AT": point}, check=False)
    assert result.returncode == -9
    assert storage.read_json(path)["v"] == {"file.before": 1, "file.after": 2}[point]


def test_a_full_disk_is_a_users_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_FULL_AT", "full.before")
    with pytest.raises(errors.DiskError, match="free some space") as caught:
        storage.write_text(tmp_path / "f", "x", point="full")
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_there_when_its_manifest_is(tmp_path):
    with pytest.raises(ValueError), storage.new_folder(tmp_path / "a", {}):
        raise ValueError
    assert storage.read_manifest(tmp_path / "a") is None
    with storage.new_folder(tmp_path / "a", {"k": 1}) as partial:
        (partial / "x").write_text("x")
    manifest = storage.read_manifest(tmp_path / "a")
    assert manifest["k"] == 1
    assert manifest["files"]["x"]["bytes"] == 1


def test_two_processes_can_not_hold_one_folder(tmp_path):
    holder = "import sys\nfrom pathlib import Path\nfrom potstill import storage\nwith storage.locked(Path(sys.argv[1])): print('held', flush=True); input()"
    command = [sys.executable, "-c", holder, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline().strip() == "held"
        with pytest.raises(errors.LockedError, match=str(other.pid)), storage.locked(tmp_path):
            pass
        other.kill()
    with storage.locked(tmp_path):  # a killed holder holds nothing
        pass


def test_a_stage_is_made_once_and_again_when_an_input_changes(tmp_path):
    made = []

    def make(folder, scratch):
        made.append(scratch)
        storage.write_json(folder / "result.json", len(made))

    cache = Cache(tmp_path)
    assert [cache.get("s", {"x": x}, make).read() for x in (1, 1, 2)] == [1, 1, 2]
    assert not made[0].exists()


def test_scratch_survives_a_failure_and_is_found_again(tmp_path):
    def fails(folder, scratch):
        (scratch / "checkpoint").write_text("half way")
        raise KeyboardInterrupt

    def goes_on(folder, scratch):
        storage.write_text(folder / "out", (scratch / "checkpoint").read_text())

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path).get("s", {}, fails)
    assert (Cache(tmp_path).get("s", {}, goes_on).folder / "out").read_text() == "half way"


def test_secrets_are_never_written(tmp_path):
    log = RunLog(tmp_path / "events.jsonl", secrets=("hunter2",))
    log.say("the key is hunter2")
    assert "hunter2" not in (tmp_path / "events.jsonl").read_text()
    assert json.loads((tmp_path / "events.jsonl").read_text())["text"] == "the key is ***"


def test_a_failed_stage_is_logged_as_failed(tmp_path):
    log = RunLog(tmp_path / "events.jsonl")
    with pytest.raises(ValueError), log.stage("s", "title"):
        raise ValueError
    assert json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])["how"] == "failed"


def test_a_missing_extra_names_itself(monkeypatch):
    monkeypatch.setitem(lookup.EXTRA_OF, "no_such_package", "train")
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'potstill\[train\]'"):
        lookup.require("no_such_package")
    with pytest.raises(errors.MissingExtraError):
        lookup.load("no_such_package.module:thing")


def test_the_nearest_name_is_offered():
    assert lookup.did_you_mean("trian", ["train", "test"]) == "did you mean 'train'?"
    assert lookup.did_you_mean("zzz", ["b", "a"]) == "known: a, b"


def test_streams_are_independent_and_repeatable():
    assert rng.stream(0, "a").integers(1 << 60) == rng.stream(0, "a").integers(1 << 60)
    assert len({rng.integer(seed, name) for seed in range(10) for name in "abc"}) == 30
    draws = np.array([rng.integer(0, i) / 2**63 for i in range(4000)])
    assert abs(draws.mean() - 0.5) < 0.03


def test_the_test_rows_stay_sealed_until_their_analysis_is_on_disk(tmp_path):
    rows = (Example.make({"text": "a"}, gold="x"),)
    sealed = SealedSplit(rows_digest(rows), 1, lambda: rows)
    paper = tmp_path / "registration.json"
    with pytest.raises(errors.SealedError):
        sealed.open(Registration("h", sealed.digest, "now", paper))
    paper.write_text("{}")
    with pytest.raises(errors.SealedError):
        sealed.open(Registration("h", "other rows", "now", paper))
    assert sealed.open(Registration("h", sealed.digest, "now", paper)) == rows
    assert not hasattr(sealed, "__iter__")
    changed = SealedSplit(sealed.digest, 1, lambda: (Example.make({"text": "a"}, gold="y"),))
    with pytest.raises(errors.SealedError, match="not those"):
        changed.open(Registration("h", sealed.digest, "now", paper))


def test_wants_have_one_key_each():
    wants = [Want("logprobs"), Want("hidden", layer=0), Want("hidden", layer=1), Want("logprobs", top_k=5), Want("logprobs", sample=1)]
    assert len({want.key for want in wants}) == len(wants)
    assert Split("train", ()).digest == rows_digest(())


def test_errors_cross_processes_whole():
    error = errors.RecipeError("two problems", [errors.Problem("r.yaml:1", "bad", "mend it"), errors.Problem("r.yaml:2", "worse")])
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.exit_code == 2
    plain = pickle.loads(pickle.dumps(errors.DiskError("full", place="/x", remedy="free some")))
    assert (plain.place, plain.remedy) == ("/x", "free some")

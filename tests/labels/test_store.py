from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from potstill import storage
from potstill.errors import StoreError
from potstill.labels import Account, LabelStore, ask, owner, shards
from potstill.labels.index import Index
from potstill.labels.shards import Origin, Row
from potstill.labels.store import VERSION, key_of
from potstill.records import Want
from potstill.runlog import RunLog
from tests.labels.fakes import LOGPROBS, Fake, examples, logprobs


@pytest.fixture
def root(tmp_path):
    return tmp_path / "labels"


def fill(root, rows, **options):
    with LabelStore(root) as store:
        return ask(Fake(), rows, [LOGPROBS], Account(store), **options)


def spoil(root) -> str:
    path = sorted((root / "shards").glob("*.arrow"))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path.name


def test_a_corrupt_shard_is_set_aside_and_asked_again(root):
    rows = examples(20)
    fill(root, rows, batch_size=10)
    name = spoil(root)
    events = []
    log = RunLog(listeners=[events.append])
    teacher = Fake()
    with LabelStore(root, log=log) as store:
        answers = ask(teacher, rows, [LOGPROBS], Account(store, log))
        assert np.array_equal(answers.array([r.id for r in rows], LOGPROBS), np.concatenate([logprobs(r) for r in rows]))
    assert len(teacher.asked) == 10
    assert (root / "quarantine" / name).is_file()
    (warning,) = [event["text"] for event in events if event["event"] == "warning"]
    assert "damaged" in warning
    assert name[:12] in warning


def test_a_shard_that_is_gone_is_asked_again(root):
    fill(root, examples(20), batch_size=10)
    next((root / "shards").glob("*.arrow")).unlink()
    assert fill(root, examples(20)).usage.teacher_calls == 10


def test_a_corrupt_orphan_is_not_adopted(root):
    fill(root, examples(10))
    spoil(root)
    (root / "index.sqlite").unlink()
    for extra in root.glob("index.sqlite-*"):
        extra.unlink()
    assert fill(root, examples(10)).usage.teacher_calls == 10


def test_the_index_is_rebuilt_from_the_shards(root):
    fill(root, examples(20), batch_size=10)
    for path in root.glob("index.sqlite*"):
        path.unlink()
    assert fill(root, examples(20)).usage.cached_calls == 20


def test_an_unreadable_index_says_what_to_do(root):
    fill(root, examples(3))
    for path in root.glob("index.sqlite*"):
        path.unlink()
    (root / "index.sqlite").write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StoreError, match="rebuilt from the shards"):
        LabelStore(root)


def test_an_index_that_is_busy_is_not_called_broken(root, monkeypatch):
    fill(root, examples(3))
    monkeypatch.setattr("potstill.labels.index.BUSY_SECONDS", 0.1)
    with LabelStore(root) as holder, LabelStore(root) as waiter, holder.index.change():
        with pytest.raises(StoreError, match="another process has held") as error:
            waiter.put(Origin("who", "name", ""), {})
        assert "delete" not in str(error.value)


def test_indexes_that_are_made_at_once_wait_for_each_other(tmp_path):
    """Regression: the switch to WAL does not wait by itself, "database is locked" came up in one of twenty pairs of processes."""

    def make(root) -> int:
        barrier.wait()
        index = Index(root)
        try:
            return index.spent().calls
        finally:
            index.close()

    barrier = Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        for round in range(20):
            root = tmp_path / str(round)
            root.mkdir()
            assert list(pool.map(make, [root] * 8)) == [0] * 8


def test_a_newer_version_is_refused_with_both_numbers(root):
    fill(root, examples(3))
    storage.write_json(root / "version.json", {"schema": VERSION + 1})
    with pytest.raises(StoreError, match=f"version {VERSION + 1}.* reads version {VERSION}"):
        LabelStore(root)


def test_a_store_can_be_moved(root, tmp_path):
    fill(root, examples(10))
    shutil.move(root, tmp_path / "elsewhere")
    assert fill(tmp_path / "elsewhere", examples(10)).usage.cached_calls == 10


def test_no_lock_files_are_left(root):
    fill(root, examples(3))
    assert not list((root / "claims").iterdir())


def test_the_lock_of_a_dead_process_is_swept_and_a_live_one_stays(root):
    folder = root / "claims"
    live = owner.Owner(folder)
    (folder / "dead.lock").touch()
    owner.sweep(folder)
    assert [path.stem for path in folder.iterdir()] == [live.token]
    assert owner.holds(folder, live.token)
    live.release()
    assert not owner.holds(folder, live.token)


def test_key_depends_on_who_is_asked_and_what():
    keys = {key_of("a", b"x"), key_of("b", b"x"), key_of("a", b"y")}
    assert len(keys) == 3
    assert all(len(key) == 32 for key in keys)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.text(max_size=5),
            arrays.arrays(st.sampled_from([np.float32, np.float16, np.int64, ">f4"]), arrays.array_shapes(max_dims=3, min_side=0, max_side=4)),
        ),
        max_size=8,
    )
)
def test_any_arrays_come_back_to_the_bit(tmp_path, values):
    rows = [
        Row(bytes([i]) * 32, str(i), "refused", value) if isinstance(value, str) else Row(bytes([i]) * 32, str(i), "answered", array=value)
        for i, value in enumerate(values)
    ]
    name = shards.write(tmp_path, Origin("identity", "teacher", "hidden:layer=1", ("ä", "b"), 1.5), rows)
    shards.check(tmp_path / name)
    assert shards.describe(tmp_path / name) == (Origin("identity", "teacher", "hidden:layer=1", ("ä", "b"), 1.5), [row.key for row in rows])
    for row, read in zip(rows, shards.read(tmp_path / name), strict=True):
        assert (read.key, read.example, read.status, read.reason) == (row.key, row.example, row.status, row.reason)
        if row.array is not None:
            assert read.array.shape == row.array.shape
            assert read.array.astype(row.array.dtype).tobytes() == row.array.tobytes()


def test_rows_of_a_shard_can_be_read_by_place(root):
    with LabelStore(root) as store:
        rows = [Row(bytes([i]) * 32, str(i), "answered", array=np.full((1, 2), i, np.float32)) for i in range(5)]
        store.put(Origin("who", "name", ""), {Want("vector"): rows})
        got = store.get([rows[4].key, rows[1].key, b"\xff" * 32], Want("vector"))
        assert {key: row.array[0, 0] for key, row in got.items()} == {rows[4].key: 4, rows[1].key: 1}
        assert store.get([rows[0].key], Want("hidden", layer=0)) == {}


def test_a_damaged_shard_seen_by_two_stores_is_no_crash(root):
    fill(root, examples(4))
    with LabelStore(root) as one, LabelStore(root) as two:
        name = spoil(root)
        assert not one.sound(name)
        assert not two.sound(name)


def test_inner_states_lie_as_they_are_and_are_mapped(tmp_path):
    """So a row is read without unpacking a shard, and thousands of rows take no memory until they are looked at."""
    import pyarrow

    vectors = [np.random.default_rng(i).normal(size=(300, 96)).astype(np.float16) for i in range(20)]
    for want, mapped in (("qkv:layer=3", True), ("hidden:layer=1", True), ("logprobs", False)):
        rows = [shards.Row(bytes([i]) * 32, f"row {i}", "answered", array=array) for i, array in enumerate(vectors)]
        name = shards.write(tmp_path, shards.Origin("i", "t", want), rows)
        before = pyarrow.total_allocated_bytes()
        read = list(shards.read(tmp_path / name))
        taken = pyarrow.total_allocated_bytes() - before
        assert (taken < 100_000) == mapped
        (tmp_path / name).unlink()  # gone while a run still reads it
        assert all(np.array_equal(row.array, array) for row, array in zip(read, vectors))
        assert not (mapped and read[0].array.flags.writeable)


def test_a_store_that_is_forgotten_may_be_closed_by_another_thread(tmp_path):
    """The garbage collector runs where it runs: in a thread that asks an endpoint, say."""
    store = LabelStore(tmp_path / "labels")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(store._close).result()
    with pytest.raises(StoreError):  # closed for good
        store.index.query("SELECT 1")

"""Real processes over one store: at once, and killed."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from potstill.labels import LabelStore
from tests.labels.fakes import HIDDEN, LOGPROBS
from tests.labels.processes import POINTS, calls, finish, start


def undisturbed(tmp_path_factory) -> str:
    return finish(start(tmp_path_factory.mktemp("undisturbed")))["content"]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return undisturbed(tmp_path_factory)


def test_two_processes_at_once_never_ask_the_same(tmp_path, content):
    first, second = (start(tmp_path, seconds=0.01) for _ in range(2))
    results = [finish(first), finish(second)]
    assert [result["content"] for result in results] == [content, content]
    assert max(Counter(calls(tmp_path)).values()) == 1
    assert len(calls(tmp_path)) == 40 == sum(result["calls"] for result in results)
    assert all(result["calls"] + result["cached"] == 40 and result["possibly_paid"] == 0 for result in results)


def test_the_waiting_process_takes_over_from_one_that_is_killed(tmp_path, content):
    first = start(tmp_path, seconds=0.2, batch=40)
    while not calls(tmp_path):
        time.sleep(0.01)
    second = start(tmp_path, batch=40)
    time.sleep(1.5)  # the second waits by now, or is about to
    assert set(calls(tmp_path)) == set(calls(tmp_path)[: len(calls(tmp_path))])
    assert max(Counter(calls(tmp_path)).values()) == 1
    first.kill()
    first.communicate()
    result = finish(second)
    assert result["content"] == content
    assert result["possibly_paid"] == 40
    assert result["calls"] == 40


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_write_point_nothing_durable_is_asked_again(tmp_path, point, content):
    killed = start(tmp_path, kill_at=f"{point}:3")
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    before = calls(tmp_path)
    with LabelStore(tmp_path / "labels") as store:
        held = [set(store.index.query("SELECT key FROM rows WHERE want = ?", (want.key,))) for want in (LOGPROBS, HIDDEN)]
    durable = len(held[0] & held[1])  # after the orphans were adopted
    result = finish(start(tmp_path))
    assert result["content"] == content
    assert result["calls"] == 40 - durable
    assert result["possibly_paid"] <= 8
    repeated = [id for id, n in Counter(calls(tmp_path)).items() if n > 1]
    assert len(repeated) <= result["possibly_paid"]
    assert len(calls(tmp_path)) <= result["spent"]["calls"] + result["spent"]["possibly_paid"]
    assert len(before) + result["calls"] == len(calls(tmp_path))


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_lost_or_paid_in_secret(tmp_path, content):
    moments = random.Random(0)
    for _ in range(20):
        process = start(tmp_path, seconds=0.004, batch=4)
        time.sleep(moments.uniform(0.2, 0.8))
        process.kill()
        process.communicate()
    result = finish(start(tmp_path, batch=4))
    assert result["content"] == content
    spent = result["spent"]
    assert spent["in_flight"] == 0
    assert spent["calls"] <= len(calls(tmp_path)) <= spent["calls"] + spent["possibly_paid"]
    assert len(set(calls(tmp_path))) == 40
    assert spent["possibly_paid"] <= 20 * 4  # a batch for each kill at most


def test_a_full_disk_loses_nothing(tmp_path, content, monkeypatch):
    monkeypatch.setenv("POTSTILL_FULL_AT", "labels.shard.before:5")
    process = start(tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No space left" in err
    monkeypatch.delenv("POTSTILL_FULL_AT")
    result = finish(start(tmp_path))
    assert result["content"] == content
    assert result["cached"] >= 16  # two batches of two shards each were kept
    assert not list((tmp_path / "labels" / "shards").glob(".*"))

"""A run that is killed while a language model labels: what was durable is not asked again, and the bytes are those of a run that was not."""

from __future__ import annotations

from collections import Counter

import pytest

from potstill.labels.tokens import fit
from potstill.teachers.causal import CausalTeacher
from tests import tiny
from tests.labels.processes import _process, finish
from tests.labels.tokens.worker import KEEP, rows

ROWS, BATCH = 16, 4


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    place = tmp_path_factory.mktemp("killed")
    teacher = CausalTeacher(tiny.decoder(place / "model"), max_length=64)
    scores = teacher.distribution(teacher.ask(teacher.items(rows(8)))).numpy()
    (place / "book").write_bytes(fit(scores, KEEP).data)
    return place


def start(lesson, folder, kill_at=""):
    spec = {"model": str(lesson / "model"), "book": str(lesson / "book"), "root": str(folder / "labels"), "counter": str(folder / "asked"), "rows": ROWS}
    return _process("tests.labels.tokens.worker", spec, folder, kill_at)


def asked(folder) -> Counter:
    path = folder / "asked"
    return Counter(path.read_text().split()) if path.exists() else Counter()


@pytest.fixture(scope="module")
def content(lesson, tmp_path_factory):
    return finish(start(lesson, tmp_path_factory.mktemp("whole")))["content"]


@pytest.mark.parametrize(("point", "durable"), [("labels.intent.after:3", 2), ("labels.shard.after:3", 3)])
def test_killed_while_labelling_nothing_durable_is_asked_again(lesson, tmp_path, content, point, durable):
    killed = start(lesson, tmp_path, point)
    killed.communicate(timeout=120)
    assert killed.returncode == -9
    before = asked(tmp_path)
    found = finish(start(lesson, tmp_path))
    assert found["content"] == content
    assert found["calls"] == ROWS - durable * BATCH
    assert found["possibly_paid"] == (0 if durable == 3 else BATCH)
    again = {id for id, times in asked(tmp_path).items() if times > 1}
    assert not again
    assert sum(before.values()) == (3 if durable == 3 else 2) * BATCH
    assert found["all"] == ROWS


def test_a_second_run_asks_nothing(lesson, tmp_path, content):
    first, second = finish(start(lesson, tmp_path)), finish(start(lesson, tmp_path))
    assert first["content"] == second["content"] == content
    assert (second["calls"], second["cached"]) == (0, ROWS)
    assert max(asked(tmp_path).values()) == 1

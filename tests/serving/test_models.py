"""Names and weights: who gets which request, and the way back."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from potstill.errors import UserError
from potstill.serving.models import LAST, Aliases, WrongBundle, open_beside, open_model
from potstill.serving.scheduler import Scheduler
from potstill.serving.tuning import tune
from tests.cascade.small import bundle


def model(name):
    return SimpleNamespace(digest=name * 16, path=name, batch=1, policy=None)


def shares(aliases, count=4000):
    found = Counter(aliases.route("a")[1].path for _ in range(count))
    return {name: round(n / count, 1) for name, n in found.items()}


@pytest.fixture
def aliases():
    made = Aliases()
    made.random.seed(0)
    made.put("a", model("aaaa"))
    return made


def test_a_canary_gets_its_share_and_the_others_the_rest(aliases):
    assert shares(aliases) == {"aaaa": 1.0}
    aliases.put("a", model("bbbb"), 0.3)
    assert shares(aliases) == {"aaaa": 0.7, "bbbb": 0.3}
    aliases.put("a", model("cccc"), 0.5)
    assert [round(weight, 3) for _, weight in aliases.by_name["a"].models] == [0.35, 0.15, 0.5]
    aliases.weigh("a", {"bbbb": 1})
    assert shares(aliases) == {"bbbb": 1.0}
    aliases.back("a")
    assert [round(weight, 3) for _, weight in aliases.by_name["a"].models] == [0.35, 0.15, 0.5]
    aliases.back("a")
    assert shares(aliases) == {"bbbb": 1.0}


def test_a_swap_is_whole_and_a_shadow_gets_nothing(aliases):
    aliases.put("a", model("bbbb"), 0.0)
    assert shares(aliases) == {"aaaa": 1.0}
    aliases.put("a", model("bbbb"), 1.0)
    assert shares(aliases) == {"bbbb": 1.0}
    aliases.back("a")
    assert shares(aliases) == {"aaaa": 1.0}


def test_what_can_not_be_is_refused(aliases):
    for weights in ({"aaaa": -1.0}, {"aaaa": 0.0}, {"aaaa": float("nan")}, {"zzzz": 1.0}, {"aaa": 1.0}, {"": 1.0}, {"aaaa": 1.0, "aaaaa": 1.0}):
        with pytest.raises(UserError):
            aliases.weigh("a", weights)
    with pytest.raises(UserError, match="nothing was served"):
        aliases.back("a")
    with pytest.raises(UserError, match=r"did you mean 'a'|known: a"):
        aliases.route("b")
    aliases.put("b", model("bbbb"))
    with pytest.raises(UserError, match="several are served"):
        aliases.route(None)


def test_a_bundle_is_opened_checked_and_measured(tmp_path):
    found = open_model(bundle(tmp_path / "b"))
    assert found.tuned.chosen in found.tuned.tried
    assert {way.batch for way in found.tuned.tried} == {1, 4, 8, 32}
    assert found.threads == 1  # a graph this small runs on one thread
    assert found.row_seconds == pytest.approx(1 / found.tuned.chosen.rows_per_s)
    scores = found.run(found.encode([{"text": "one two"}]))
    np.testing.assert_array_equal(scores, found.predictor.predict([{"text": "one two"}]))
    sure, passed = found.passes_on(scores)
    assert (sure > 0.3).all()
    assert not passed.any()  # no policy: the student answers all
    (tmp_path / "b" / "extra").write_text("x")
    with pytest.raises(WrongBundle, match="not as it was shipped"):
        open_model(tmp_path / "b")


def test_what_takes_anothers_place_gives_way_to_it_and_is_called_like_it(tmp_path):
    before, niceness = open_model(bundle(tmp_path / "b")), []

    def opened():
        found = open_beside(tmp_path / "b", policy=None, batch=None, slots=1, before=before)
        niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return found

    mine = os.getpriority(os.PRIO_PROCESS, 0)
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(opened).result()
    assert found.tuned is before.tuned  # what would be measured beside others is how busy they are
    assert found.digest == before.digest
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine
    assert niceness == [LAST if sys.platform == "linux" else mine]


def test_rows_that_share_a_call_are_answered_as_they_are_alone_and_in_their_order(tmp_path):
    model = open_model(bundle(tmp_path / "b"), batch=8)
    asked = ["one two", "five", "", "w1 w2 w3 w4", "one two three", "Ελληνικά", "a b c d e f g", "five five"] * 4

    async def work():
        scheduler = Scheduler(1, 100, 30.0)
        tasks = [asyncio.ensure_future(scheduler.submit(model, [{"text": text}, {"text": text[::-1]}])) for text in asked]
        await asyncio.sleep(0)
        runs = scheduler.calls
        found = await asyncio.gather(*tasks)
        scheduler.close()
        assert runs == 1  # the others waited, and so had company
        return found

    for text, one in zip(asked, asyncio.run(work())):
        np.testing.assert_allclose(one.scores, model.predictor.predict([{"text": text}, {"text": text[::-1]}], batch_size=1), atol=1e-6)


class Predicts:
    """A predictor whose call takes ``fixed`` and ``each`` row."""

    max_batch = None

    def __init__(self, fixed, each):
        self.fixed, self.each = fixed, each

    def predict(self, rows, *, batch_size):
        time.sleep(self.fixed + self.each * len(rows))


def chosen(predictor, **more):
    return tune(lambda threads: predictor(threads), [{"text": "a"}], **{"slots": 1, "seconds": 0.05, **more}).chosen


class Clock:
    """A time that passes only while a predictor is asked: a busy machine has no say in the test."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_rows_share_a_call_only_where_that_is_worth_it(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("potstill.serving.tuning.time", clock)
    monkeypatch.setattr("tests.serving.test_models.time", clock)
    assert chosen(lambda threads: Predicts(0.0, 0.01)).batch == 1
    assert chosen(lambda threads: Predicts(0.02, 0.0005)).batch > 1
    assert chosen(lambda threads: Predicts(0.02, 0.0005), batch=5).batch == 5


def test_padding_is_worth_what_a_call_costs_by_itself(monkeypatch):
    """By the length of a middling row: 20 ms a call and 5 a row make padding of 4 rows' length worth a call that is saved."""
    clock = Clock()
    monkeypatch.setattr("potstill.serving.tuning.time", clock)
    monkeypatch.setattr("tests.serving.test_models.time", clock)

    def worth(fixed, each, **more):
        return tune(lambda threads: Predicts(fixed, each), [{"text": "a"}], **{"slots": 1, "seconds": 0.05, **more}).worth

    assert worth(0.02, 0.005) == pytest.approx(4.0, rel=0.01)
    assert worth(0.02, 0.005, batch=3) == pytest.approx(4.0, rel=0.01)
    assert worth(0.0, 0.01) == worth(0.02, 0.005, batch=1) == 0.0
    assert worth(0.02, 0.0) < 100.0


def test_a_call_gets_more_threads_only_where_that_is_worth_it():
    """Four calls of one thread against one call of four: which is faster depends on how well a call is shared out."""
    poorly = chosen(lambda threads: Predicts(0.0, 0.08 / threads**0.5), slots=4, threads=(1, 4), batch=1)
    assert (poorly.threads, poorly.workers) == (1, 4)
    well = chosen(lambda threads: Predicts(0.0, 0.08 / threads**1.5), slots=4, threads=(1, 4), batch=1)
    assert (well.threads, well.workers) == (4, 1)

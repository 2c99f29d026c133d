"""The teacher behind the student: its limits, its failures, its process."""

from __future__ import annotations

import asyncio
import sys

import numpy as np
import pytest

from potstill.cascade.policy import Limits
from potstill.errors import UserError
from potstill.serving.behind import FAILURES, HOUR, PAUSE_S, Allowance, Aside, Behind, Breaker, Unanswered


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_rate_is_kept_and_a_second_may_come_at_once():
    clock = Clock()
    allowance, limits = Allowance(clock), Limits(per_second=5)
    assert allowance.take(8, limits) == (5, "rate_limit")
    assert allowance.take(1, limits) == (0, "rate_limit")
    clock.now = 0.4
    assert allowance.take(3, limits) == (2, "rate_limit")
    clock.now = 100.0
    assert allowance.take(3, limits) == (3, "")
    slow = Limits(per_second=0.1)
    other = Allowance(clock)
    assert other.take(2, slow) == (1, "rate_limit")
    clock.now += 9
    assert other.take(1, slow) == (0, "rate_limit")
    clock.now += 1.001
    assert other.take(1, slow) == (1, "")


def test_over_a_long_time_no_more_than_the_rate_is_passed_on():
    clock = Clock()
    allowance, limits, random = Allowance(clock), Limits(per_second=3), np.random.default_rng(0)
    taken = 0
    while clock.now < 200:
        clock.now += float(random.exponential(0.05))
        taken += allowance.take(int(random.integers(1, 4)), limits)[0]
    assert 0.95 * 600 < taken <= 3 + 600


def test_dollars_are_of_the_last_hour():
    clock = Clock()
    allowance, limits = Allowance(clock), Limits(usd_per_hour=1.0, usd_per_1000=100.0)
    assert allowance.take(6, limits) == (6, "")
    clock.now = HOUR / 2
    assert allowance.take(6, limits) == (4, "budget")
    clock.now = HOUR - 1
    assert allowance.take(6, limits) == (0, "budget")
    clock.now = HOUR + 1
    assert allowance.take(9, limits) == (6, "budget")
    assert Allowance(clock).take(10**6, Limits(usd_per_1000=100.0)) == (10**6, "")


def test_a_teacher_that_fails_again_and_again_is_left_alone_for_longer_each_time():
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(FAILURES - 1):
        breaker.told(False)
    assert not breaker.open
    breaker.told(False)
    assert breaker.open
    clock.now = PAUSE_S
    assert not breaker.open
    breaker.told(False)
    clock.now += PAUSE_S
    assert breaker.open
    clock.now += PAUSE_S
    assert not breaker.open
    breaker.told(True)
    breaker.told(False)
    assert not breaker.open


class Says:
    def __init__(self, *answers, seconds=0.0):
        self.answers, self.seconds, self.asked = list(answers), seconds, 0

    async def ask(self, rows):
        self.asked += 1
        await asyncio.sleep(self.seconds)
        return self.answers[: len(rows)]

    async def close(self):
        pass


def asked(teacher, count=3, limits=Limits(), within=10.0):
    return asyncio.run(Behind(teacher).ask([{"text": "x"}] * count, 2, within, limits))


def test_what_the_teacher_says_is_believed_only_where_it_is_an_answer():
    good = np.array([-0.1, -2.0], np.float32)
    found, reasons = asked(Says(good, None, np.array([np.nan, 0.0])))
    assert reasons == ["", "no_answer", "no_answer"]
    assert found[1:] == [None, None]
    np.testing.assert_array_equal(found[0], good)
    assert asked(Says(good, np.zeros(3), good))[1] == ["", "no_answer", ""]
    assert asked(Says(good))[1] == ["no_answer"] * 3  # one answer to three questions: nobody knows to which
    assert asked(None)[1] == ["no_teacher"] * 3
    assert asked(Says(good, good, good), limits=Limits(per_second=2))[1] == ["", "", "rate_limit"]
    assert asked(Says(seconds=5), limits=Limits(timeout_s=0.05))[1] == ["timeout"] * 3
    assert asked(Says(seconds=5), within=0.05)[1] == ["timeout"] * 3


PROGRAM = """
import json, sys, time
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    question = json.loads(line)
    text = question["rows"][0]["text"]
    if text == "die": sys.exit(1)
    if text == "noise": print("no json", flush=True); continue
    if text == "fail": print(json.dumps({"id": question["id"], "error": "X"}), flush=True); continue
    if text == "wait": time.sleep(0.5)
    print(json.dumps({"id": question["id"], "scores": [[float(len(row["text"])), 0.0] for row in question["rows"]]}), flush=True)
"""


def test_a_process_answers_dies_and_is_started_again():
    async def work():
        aside = Aside([sys.executable, "-c", PROGRAM])
        await aside.start()
        first = aside.process.pid
        both = await asyncio.gather(aside.ask([{"text": "wait"}]), aside.ask([{"text": "ab"}, {"text": "c"}]))
        assert [[row.tolist() for row in rows] for rows in both] == [[[4.0, 0.0]], [[2.0, 0.0], [1.0, 0.0]]]
        for text in ("fail", "die", "noise"):
            with pytest.raises(Unanswered, match="unreachable"):
                await aside.ask([{"text": text}])
            assert (await aside.ask([{"text": "abc"}]))[0][0] == 3
        assert aside.process.pid != first
        given_up = asyncio.ensure_future(aside.ask([{"text": "wait"}]))
        await asyncio.sleep(0.05)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert (await aside.ask([{"text": "abcd"}]))[0][0] == 4  # the late answer to the other question is not taken for this one's
        assert not aside.waiting
        await aside.close()
        assert aside.process.returncode is not None

    asyncio.run(work())


SLOW_START = "import time; time.sleep(1.0)" + PROGRAM


def test_who_gives_up_while_it_starts_does_not_stop_it():
    async def work():
        aside = Aside([sys.executable, "-c", SLOW_START])
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await aside.ask([{"text": "a"}])
        assert (await aside.ask([{"text": "abc"}]))[0][0] == 3
        await aside.close()

    asyncio.run(work())


def test_a_process_that_never_is_ready_is_an_error():
    with pytest.raises(UserError, match="ended before it was ready"):
        asyncio.run(Aside([sys.executable, "-c", "raise SystemExit(2)"]).start())

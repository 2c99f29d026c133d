"""The queue: bounded by count and by time, batches of one model, rows that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from potstill.serving.scheduler import Busy, Scheduler


class Slow:
    """A model that takes ``seconds`` a call and answers each row with its length; a row "bad" breaks the call that it is in."""

    def __init__(self, batch=1, seconds=0.05, threads=1, worth=100.0):
        self.batch, self.seconds, self.row_seconds, self.threads, self.worth = batch, seconds, seconds, threads, worth
        self.calls: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def encode(self, rows):
        if any(row["text"] == "bad" for row in rows):
            raise ValueError("bad")
        return [row["text"] for row in rows]

    def length(self, item):
        return len(item)

    def run(self, items):
        self.gate.wait(10)
        self.calls.append(list(items))
        time.sleep(self.seconds)
        return np.array([[len(item)] for item in items], np.float32)


def rows(*texts):
    return [{"text": text} for text in texts]


def scenario(work, **more):
    """Run a coroutine function with a scheduler."""

    async def all():
        scheduler = Scheduler(**{"workers": 1, "max_queue": 10, "max_wait_s": 5.0, **more})
        try:
            return await work(scheduler)
        finally:
            await asyncio.wait_for(scheduler.drained(), 10)
            scheduler.close()

    return asyncio.run(all())


def test_rows_come_back_in_their_order_with_their_times():
    async def work(scheduler):
        return await asyncio.gather(*(scheduler.submit(model, rows("a" * i, "b")) for i in range(5)))

    model = Slow()
    found = scenario(work)
    assert [one.scores.ravel().tolist() for one in found] == [[i, 1] for i in range(5)]
    assert found[0].queue_s < 0.05 < found[4].queue_s
    assert all(one.infer_s >= 0.09 for one in found)


def test_requests_of_one_model_share_a_call_and_those_of_others_do_not():
    one, other = Slow(batch=4), Slow(batch=4)

    async def work(scheduler):
        one.gate.clear()
        first = asyncio.ensure_future(scheduler.submit(one, rows("x")))
        await asyncio.sleep(0.02)
        rest = [scheduler.submit(m, rows(text)) for m, text in ((one, "a"), (other, "b"), (one, "c"), (one, "d"), (one, "e"), (one, "f"))]
        tasks = [asyncio.ensure_future(task) for task in rest]
        await asyncio.sleep(0.02)
        one.gate.set()
        return await asyncio.gather(first, *tasks)

    scenario(work)
    assert one.calls == [["x"], ["a", "c", "d", "e"], ["f"]]
    assert other.calls == [["b"]]


async def behind(scheduler, model, *texts):
    """Submit texts while a call of another row runs; return the tasks, the first of which is that row's."""
    model.gate.clear()
    first = asyncio.ensure_future(scheduler.submit(model, rows("x")))
    await asyncio.sleep(0.02)
    tasks = [asyncio.ensure_future(scheduler.submit(model, rows(text))) for text in texts]
    await asyncio.sleep(0.02)
    return [first, *tasks]


def test_company_is_of_like_length_and_the_oldest_is_always_in_it():
    model = Slow(batch=3, worth=2.0, seconds=0.01)

    async def work(scheduler):
        tasks = await behind(scheduler, model, "a" * 9, "b", "c" * 8, "d" * 2, "e" * 10, "f" * 9, "g")
        model.gate.set()
        return await asyncio.gather(*tasks)

    found = scenario(work)
    assert model.calls[1:] == [["a" * 9, "f" * 9, "c" * 8], ["b", "g", "d" * 2], ["e" * 10]]  # order of coming among equals, padding of at most 2
    assert [one.scores.item() for one in found] == [1, 9, 1, 8, 2, 10, 9, 1]
    assert all(one.tokenize_s > 0 for one in found[1:])


def test_padding_is_counted_for_all_that_share_a_call():
    model = Slow(batch=8, worth=3.0, seconds=0.01)

    async def work(scheduler):
        tasks = await behind(scheduler, model, "aa", "aa", "aa", "a" * 3, "a" * 4)
        model.gate.set()
        await asyncio.gather(*tasks)

    scenario(work)
    assert [[len(item) for item in call] for call in model.calls[1:]] == [[2, 2, 2, 3], [4]]  # the last would lengthen four others, by 5 in all


def test_what_is_long_or_cannot_be_read_has_no_company_and_its_own_error():
    model = Slow(batch=8, seconds=0.01)

    async def work(scheduler):
        tasks = await behind(scheduler, model, "bad", "a", "b" * 5_000, "c")
        model.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = scenario(work)
    assert isinstance(found[1], ValueError)
    assert [[len(item) for item in call] for call in model.calls[1:]] == [[1, 1], [5000]]
    assert [one.scores.item() for one in (found[2], found[3], found[4])] == [1, 5000, 1]


def test_one_of_a_batch_that_is_cancelled_takes_none_of_the_others_along():
    model = Slow(batch=8, seconds=0.01)

    async def work(scheduler):
        tasks = await behind(scheduler, model, "a", "bb", "ccc", "dddd")
        tasks[2].cancel()
        model.gate.set()
        await asyncio.sleep(0.012)  # the next call runs now, perhaps: one of its jobs leaves
        tasks[3].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = scenario(work)
    assert isinstance(found[2], asyncio.CancelledError)
    assert isinstance(found[3], asyncio.CancelledError)
    assert (found[1].scores.item(), found[4].scores.item()) == (1, 4)
    assert all("bb" not in call for call in model.calls)


def test_time_that_may_have_passed_unread_counts_towards_the_longest_wait():
    async def work(scheduler):
        model = Slow(seconds=0.1)
        task = asyncio.ensure_future(scheduler.submit(model, rows("a")))
        await asyncio.sleep(0)
        scheduler.check(1, 0.1)
        with pytest.raises(Busy, match=r"the wait is about 0\.4 s"):
            scheduler.check(1, 0.2)
        waits = asyncio.ensure_future(scheduler.submit(model, rows("b"), 0.14))
        with pytest.raises(Busy, match="the most that may be"):
            await waits  # 20 ms are left of 300
        await task
        scheduler.check(1, 0.2)  # where nothing runs nothing waits

    scenario(work, max_wait_s=0.3)


def test_the_foreseen_wait_learns_what_else_takes_the_loops_time():
    async def work(scheduler):
        model = Slow(seconds=0.002, batch=1)

        async def other():
            while True:
                time.sleep(0.006)
                await asyncio.sleep(0)

        beside = asyncio.ensure_future(other())
        await asyncio.gather(*(scheduler.submit(model, rows("a")) for _ in range(40)))
        beside.cancel()
        assert scheduler.stretch > 1.5
        for _ in range(80):
            await scheduler.submit(model, rows("a"))
        assert scheduler.stretch < 1.1

    scenario(work, max_queue=100)


def test_a_full_queue_refuses_and_a_request_larger_than_it_may_come_where_nothing_waits():
    async def work(scheduler):
        model = Slow()
        tasks = [asyncio.ensure_future(scheduler.submit(model, rows(*"abcd"))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="8 rows wait, 10 may") as caught:
            await scheduler.submit(model, rows(*"abc"))
        assert caught.value.retry_after >= 1
        await asyncio.gather(*tasks)
        return (await scheduler.submit(model, rows(*"abcdefghijklmno"))).scores

    assert len(scenario(work)) == 15


def test_a_row_that_waited_long_enough_is_told_so_though_the_worker_is_still_at_it():
    async def work(scheduler):
        model = Slow(seconds=1.0)
        model.row_seconds = 0.001  # so that it is not refused at once
        first = asyncio.ensure_future(scheduler.submit(model, rows("a")))
        await asyncio.sleep(0.01)
        began = time.monotonic()
        with pytest.raises(Busy, match="the most that may be"):
            await scheduler.submit(model, rows("b"))
        assert 0.2 < time.monotonic() - began < 0.6
        await first
        assert scheduler.waiting_rows == 0

    scenario(work, max_wait_s=0.3)


def test_a_wait_that_is_foreseen_is_refused_at_once():
    async def work(scheduler):
        model = Slow(seconds=0.2)
        tasks = [asyncio.ensure_future(scheduler.submit(model, rows("a"))) for _ in range(3)]
        await asyncio.sleep(0)
        began = time.monotonic()
        with pytest.raises(Busy, match=r"the wait is about 0\.4 s"):
            await scheduler.submit(model, rows("b"))
        assert time.monotonic() - began < 0.05
        await asyncio.gather(*tasks, return_exceptions=True)

    scenario(work, max_wait_s=0.3)


def test_a_cancelled_request_leaves_the_queue_and_ends_its_work_between_batches():
    model = Slow(seconds=0.05)

    async def work(scheduler):
        long = asyncio.ensure_future(scheduler.submit(model, rows(*"abcdefghijklmnopqrst")))
        waits = asyncio.ensure_future(scheduler.submit(model, rows("never")))
        await asyncio.sleep(0.12)
        long.cancel()
        waits.cancel()
        await asyncio.gather(long, waits, return_exceptions=True)
        assert scheduler.waiting_rows == 0
        return (await scheduler.submit(model, rows("after"))).scores

    scenario(work, max_queue=100)
    assert len(model.calls) < 8
    assert model.calls[-1] == ["after"]
    assert ["never"] not in model.calls


def test_a_row_that_breaks_a_call_breaks_it_for_its_own_request_alone():
    model = Slow(batch=8)

    async def work(scheduler):
        model.gate.clear()
        first = asyncio.ensure_future(scheduler.submit(model, rows("x")))
        await asyncio.sleep(0.02)
        tasks = [asyncio.ensure_future(scheduler.submit(model, rows(text))) for text in ("a", "bad", "ccc")]
        await asyncio.sleep(0.02)
        model.gate.set()
        return await asyncio.gather(first, *tasks, return_exceptions=True)

    _, good, bad, also = scenario(work)
    assert (good.scores[0, 0], also.scores[0, 0]) == (1, 3)
    assert isinstance(bad, ValueError)


def test_a_call_of_many_threads_takes_the_room_of_as_many_workers():
    one, many = Slow(seconds=0.1), Slow(seconds=0.1, threads=3)

    async def work(scheduler):
        tasks = [asyncio.ensure_future(scheduler.submit(model, rows("a"))) for model in (one, many, one, one)]
        await asyncio.sleep(0.03)
        assert scheduler.busy == 1  # the second needs the room of three: it waits for the first, and those behind it wait too
        await asyncio.sleep(0.1)
        assert scheduler.busy == 3
        await asyncio.gather(*tasks)
        assert scheduler.busy == 0

    scenario(work, workers=3)


class Quick(Slow):
    """A model whose calls take no time worth a thread; notes whose thread each ran in."""

    def __init__(self, **more):
        super().__init__(**{"seconds": 0.0, **more})
        self.row_seconds = 0.0005
        self.threads_seen: list[str] = []

    def run(self, items):
        self.threads_seen.append(threading.current_thread().name)
        return super().run(items)


def test_on_a_single_core_short_calls_need_no_thread_and_long_ones_have_one(monkeypatch):
    monkeypatch.setattr("potstill.serving.scheduler.SMOOTH", 0.0)  # what a busy machine makes of a call's time must not decide

    async def work(scheduler):
        quick = Quick(batch=4)
        found = await asyncio.gather(*(scheduler.submit(quick, rows("a" * i)) for i in range(12)))
        assert [one.scores.item() for one in found] == list(range(12))
        assert set(quick.threads_seen) == {threading.current_thread().name}
        many = Quick(batch=4)
        assert len((await scheduler.submit(many, rows(*"abcdefghijkl"))).scores) == 12
        assert all(name.startswith("infer") for name in many.threads_seen)  # 6 ms by what a row is said to take
        assert scheduler.busy == scheduler.calls == scheduler.waiting_rows == 0

    scenario(work, max_queue=100, alone=True)


def test_between_slices_of_short_calls_the_loop_does_what_else_there_is_and_neither_starves():
    async def work(scheduler):
        quick, ticks = Quick(seconds=0.002), []

        async def tick():
            while True:
                ticks.append(len(quick.calls))
                time.sleep(0.02)  # refusing thousands
                await asyncio.sleep(0)

        ticking = asyncio.ensure_future(tick())
        await asyncio.gather(*(scheduler.submit(quick, rows("a")) for _ in range(60)))
        ticking.cancel()
        return ticks

    ticks = scenario(work, alone=True, max_queue=100)
    assert len(ticks) >= 3  # the loop was not held until all was done
    assert len(ticks) <= 30  # nor did each look at what else there is buy one call alone


def test_on_a_single_core_the_queue_has_its_bounds_and_one_bad_row_its_own_error():
    async def work(scheduler):
        quick = Quick(batch=3)
        tasks = [asyncio.ensure_future(scheduler.submit(quick, rows(text))) for text in ("a", "bad", "b", "c")]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="3 rows wait, 3 may"):
            await scheduler.submit(quick, rows("d"))
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[1], ValueError)
        assert [one.scores.item() for n, one in enumerate(found) if n != 1] == [1, 1, 1]

    scenario(work, max_queue=3, alone=True)

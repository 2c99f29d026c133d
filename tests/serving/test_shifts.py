"""Long work in shifts: it shares the workers with short calls, ends between two steps, and is bounded like them."""

from __future__ import annotations

import asyncio
import time

import pytest

from potstill.serving.scheduler import Busy
from potstill.serving.shifts import GOING, SHIFT_S

from .test_scheduler import Slow, rows, scenario


class Steps:
    """So many steps of ``seconds`` each; notes when each was taken, and who was at a step of theirs meanwhile. The step ``bad`` goes wrong."""

    def __init__(self, count=10, seconds=0.004, threads=1, bad=None):
        self.count, self.seconds, self.threads, self.bad = count, seconds, threads, bad
        self.at: list[float] = []
        self.inside, self.others, self.met = False, [], 0

    def __call__(self):
        for step in range(self.count):
            self.inside = True
            time.sleep(self.seconds)
            self.met += any(other.inside for other in self.others)
            self.inside = False
            if step == self.bad:
                raise ValueError("bad")
            self.at.append(time.monotonic())
            yield step


async def all_of(long):
    found = []
    while (news := await long.next()) is not None:
        found += news
    return found


def begin(scheduler, steps, *, count=1, row_s=0.0):
    return scheduler.begin(steps, count, row_s, steps)


def test_steps_come_in_their_order_and_several_take_turns():
    async def work(scheduler):
        both = [Steps(), Steps(count=20)]
        found = await asyncio.gather(*(all_of(begin(scheduler, steps)) for steps in both))
        assert found == [list(range(10)), list(range(20))]
        assert both[1].at[0] < both[0].at[-1] < both[1].at[-1]
        assert scheduler.busy == scheduler.calls == scheduler.all_running == scheduler.all_waiting == 0

    scenario(work)


def test_a_short_call_waits_for_one_shift_and_neither_side_starves():
    async def work(scheduler):
        steps, quick = [Steps(count=400) for _ in range(3)], Slow(seconds=0.001)
        longs = [begin(scheduler, one) for one in steps]
        took = []
        for _ in range(20):
            began = time.monotonic()
            await scheduler.submit(quick, rows("a"))
            took.append(time.monotonic() - began)
        assert sorted(took)[10] < 6 * SHIFT_S  # not three shifts each time, and by no means three answers
        before = [len(one.at) for one in steps]
        await asyncio.gather(*(scheduler.submit(quick, rows("a" * i)) for i in range(200)))
        assert sum(len(one.at) for one in steps) - sum(before) > 10  # two hundred calls in the queue do not hold them up
        for long in longs:
            scheduler.leave(long)

    scenario(work, max_queue=1000)


def test_whoever_leaves_ends_it_after_its_step_wherever_it_stands():
    async def work(scheduler):
        steps = [Steps(count=1000) for _ in range(GOING + 2)]
        longs = [begin(scheduler, one) for one in steps]
        await asyncio.sleep(0.1)
        assert scheduler.all_waiting == 2
        for long in (longs[-1], longs[0], *longs[:-1]):
            scheduler.leave(long)
        await asyncio.wait_for(scheduler.drained(), 1)
        assert scheduler.all_waiting == scheduler.all_running == 0
        assert sum(len(one.at) for one in steps) < 100
        assert not steps[-1].at
        assert await all_of(begin(scheduler, Steps())) == list(range(10))

    scenario(work)


def test_no_more_go_on_at_a_time_than_may_and_who_waits_too_long_is_told():
    async def work(scheduler):
        longs = [begin(scheduler, Steps(count=1000)) for _ in range(GOING)]
        waits = begin(scheduler, Steps())
        assert scheduler.all_running == GOING
        with pytest.raises(Busy, match="the most that may be"):
            await waits.next()
        for long in longs:
            scheduler.leave(long)
        scheduler.leave(waits)

    scenario(work, max_wait_s=0.1)


def test_a_wait_that_is_foreseen_is_refused_at_once_and_so_is_a_full_queue():
    async def work(scheduler):
        longs = [begin(scheduler, Steps(count=1000), row_s=8.0) for _ in range(GOING)]
        with pytest.raises(Busy, match=r"the wait is about [78]\.\d s"):
            begin(scheduler, Steps())
        scheduler.max_wait_s = 100.0
        longs.append(begin(scheduler, Steps(), count=6))
        with pytest.raises(Busy, match="6 rows wait, 10 may"):
            begin(scheduler, Steps(), count=5)
        with pytest.raises(Busy, match="6 rows wait, 10 may"):
            await scheduler.submit(Slow(), rows(*"abcde"))
        for long in longs:
            scheduler.leave(long)

    scenario(work)


def test_what_rows_take_lately_is_learnt():
    async def work(scheduler):
        steps = Steps(count=5)
        first = begin(scheduler, steps, row_s=9.0)
        assert first.seconds == 9.0
        await all_of(first)
        assert begin(scheduler, steps, count=2, row_s=9.0).seconds == pytest.approx(2 * first.worked_s)
        assert begin(scheduler, steps, row_s=1e-9).seconds == 1e-9

    scenario(work)


def test_a_step_that_goes_wrong_is_its_own_requests_matter():
    async def work(scheduler):
        good, bad = begin(scheduler, Steps()), begin(scheduler, Steps(bad=4))
        found = await asyncio.gather(all_of(good), all_of(bad), return_exceptions=True)
        assert found[0] == list(range(10))
        assert isinstance(found[1], ValueError)
        assert scheduler.all_running == scheduler.busy == 0

    scenario(work)


def test_one_of_many_threads_takes_the_room_of_as_many_workers():
    async def work(scheduler):
        wide, narrow, another = Steps(threads=2, count=30), Steps(count=30), Steps(count=30)
        wide.others, narrow.others = [narrow, another], [another]
        longs = [begin(scheduler, one) for one in (wide, narrow, another)]
        assert scheduler.busy == 2
        assert [len(one) for one in await asyncio.gather(*map(all_of, longs))] == [30, 30, 30]
        assert not wide.met
        assert narrow.met

    scenario(work, workers=2)

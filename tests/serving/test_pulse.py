"""How long what is read now may have waited unread."""

from __future__ import annotations

import asyncio
import time

from potstill.serving.pulse import Pulse


def test_a_request_that_wakes_an_idle_loop_has_not_waited():
    async def work():
        pulse = Pulse()
        found = []
        for _ in range(3):
            found.append(pulse.unread_s())
            await asyncio.sleep(0.02)
        assert not pulse.beats  # it rests
        return found

    assert max(asyncio.run(work())) < 0.005


def test_in_a_busy_loop_a_request_may_have_waited_since_the_round_before():
    async def work():
        pulse, found = Pulse(), []

        async def asks():
            for _ in range(4):
                found.append(pulse.unread_s())
                time.sleep(0.02)  # the loop's time, taken by others
                await asyncio.sleep(0)

        await asyncio.gather(asks())
        return found

    found = asyncio.run(work())
    assert found[0] < 0.005
    assert all(0.015 < waited < 0.2 for waited in found[1:])

"""How long what is read now may have waited unread: the event loop looks at its connections once a round, and rounds are long when much comes in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Pulse:
    """The beginnings of the loop's last two rounds, while requests come in; it rests when a round brings none."""

    clock: Callable[[], float] = time.monotonic
    before: float = 0.0
    last: float = 0.0
    beats: bool = False
    came: bool = False  # in this round

    def unread_s(self) -> float:
        """Return the longest time that a request which is read now may have waited for it, in seconds: since the round before this one began."""
        now = self.clock()
        self.came = True
        if not self.beats:  # the loop had nothing to do: the request woke it
            self.beats, self.before, self.last = True, now, now
            asyncio.get_running_loop().call_soon(self._beat)
        return now - self.before

    def _beat(self) -> None:
        self.before, self.last = self.last, self.clock()
        self.beats, self.came = self.came, False
        if self.beats:
            asyncio.get_running_loop().call_soon(self._beat)

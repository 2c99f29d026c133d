"""What the page is told: two minutes second by second, percentiles of the last one, sums since the start; the page's own content policy."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from potstill.serving.live import SECONDS, Live
from potstill.serving.page import page
from tests.monitoring.test_traffic import answered


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_seconds_percentiles_and_sums():
    clock = Clock()
    live = Live(lambda: 7, clock)
    for second in range(3):
        for took in (0.001, 0.002, 0.003):
            live(answered(["a", "b"], taught=[1], flag="" if second else "budget"))
            live.done(200, took)
        live.done(429, 0.1)
        live.done(503, 0.1)
        live.done(500, 0.1)
        live.done(404, 0.1)
        clock.now += 1
    told = live.told()
    assert told["series"]["answered"][-4:] == [0, 3, 3, 3]
    assert told["series"]["student"][-1] == told["series"]["teacher"][-1] == 3
    assert told["series"]["waiting"][-1] == 7
    assert told["series"]["p50"][-1] == 2.0
    assert told["series"]["p50"][0] is None
    assert {len(numbers) for numbers in told["series"].values()} == {SECONDS}
    assert told["minute"] == {"answered": 9, "refused": 6, "failed": 3, "student": 9, "teacher": 9}
    assert told["parts"]["infer"] == {"p50": 3.0, "p95": 3.0, "p99": 3.0, "n": 9}
    assert "teacher" not in told["parts"]
    names = live.names()["tickets"]
    assert (names["rows"], names["passed_on"], names["flagged"]) == (18, 9, {"budget": 6})
    assert (names["usd"], names["alone_usd"]) == (pytest.approx(0.018), pytest.approx(0.036))
    clock.now += 61
    assert live.told()["minute"]["answered"] == 0
    assert sum(live.told()["series"]["answered"]) == 9
    clock.now += 100
    assert sum(live.told()["series"]["answered"]) == 0
    json.dumps(live.told())


def test_what_is_held_is_bounded():
    clock = Clock()
    live = Live(lambda: 0, clock)
    for _ in range(500):
        for _ in range(300):
            live.done(200, 0.001)
        clock.now += 1
    assert len(live.seconds) <= SECONDS + 1
    assert max(len(second.times["request"]) for _, second in live.seconds) == 200


def test_the_page_asks_for_nothing_from_elsewhere_and_its_policy_holds_its_hashes():
    html, policy = page()
    assert len(html) < 60_000
    assert not re.search(r"""(?:src|href)=["'](?!data:,)""", html)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert not re.search(r"""\sstyle=|\son[a-z]+=""", html.partition("<body>")[2].partition("<script>")[0])
    assert "innerHTML" not in html
    for kind in ("style", "script"):
        (inside,) = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.S)
        assert f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'" in policy
    assert "unsafe" not in policy

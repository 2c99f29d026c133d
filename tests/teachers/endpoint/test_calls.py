"""Calls over a network that fails: a stub's faults, and a clock that is not waited for."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from potstill.errors import TeacherError
from potstill.records import Answered, Failed, Refused, Usage
from tests.labels.fakes import LOGPROBS
from tests.teachers.endpoint.clock import Simulated
from tests.teachers.endpoint.faults import GOOD, stub, text, tokens
from tests.teachers.endpoint.made import rows, teacher
from tests.teachers.endpoint.serving import ROOT


def asked(script, n=1, *, clock=None, booked=None, **options):
    """Ask about ``n`` rows: the answers by place, what they cost, the attempts that were booked before another."""
    made, given, paid, between = teacher(script.url, clock=clock or Simulated(), **options), rows(n), Usage(), []
    left, answers = iter(given), {}
    for id, answer, usage in made.calls(lambda: next(left, None), [LOGPROBS], lambda id, usage: between.append(usage)):
        answers[id] = answer
        paid += usage
    return [answers[row.id] for row in given], sum(between, paid)


def test_every_row_is_one_request_and_the_servers_count_is_what_is_booked():
    def slowly(body):
        time.sleep(0.01)
        return GOOD

    with stub(slowly) as script:
        answers, paid = asked(script, 30, usd_per_million_in=1.0, usd_per_million_out=5.0)
    assert all(isinstance(answer, Answered) and answer.arrays[LOGPROBS].argmax() == 1 for answer in answers)
    assert len(script.seen) == 30
    assert (paid.teacher_calls, paid.tokens_in, paid.tokens_out) == (30, 300, 30)
    assert paid.usd == pytest.approx(30 * 15e-6)
    assert 1 < script.most <= 4


TROUBLE = {
    "500": ((500, {"error": "x"}, {}), Usage(teacher_calls=1)),
    "503": ((503, "busy", {}), Usage(teacher_calls=1)),
    "429": ((429, {"error": {"message": "slow down"}}, {"Retry-After": "7"}), Usage(teacher_calls=1)),
    "cut": ("cut", Usage(possibly_paid=1)),
    "half": ("half", Usage(possibly_paid=1)),
    "html": ("<html>a page</html>", Usage(teacher_calls=1)),
    "no choices": ({"choices": []}, Usage(teacher_calls=1)),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_what_may_pass_is_tried_again_and_counted(name):
    line, cost = TROUBLE[name]
    clock = Simulated()
    with stub(line, line, GOOD) as script:
        (answer,), paid = asked(script, clock=clock)
    assert isinstance(answer, Answered)
    assert len(script.seen) == 3
    assert paid == cost + cost + Usage(teacher_calls=1, tokens_in=10, tokens_out=1)
    assert paid.teacher_calls + paid.possibly_paid == 3  # the server's own count
    assert sum(clock.slept) >= (14 if name == "429" else 0.5)


def test_a_slow_server_is_given_up_in_time_and_booked_as_possibly_paid():
    began = time.monotonic()
    with stub("slow", GOOD) as script:
        (answer,), paid = asked(script, timeout_s=0.15)
    assert isinstance(answer, Answered)
    assert paid == Usage(teacher_calls=1, possibly_paid=1, tokens_in=10, tokens_out=1)
    assert time.monotonic() - began < 5


def test_a_row_that_never_works_fails_with_its_reason_and_the_others_are_answered():
    def script(body):
        return (500, {"error": {"message": "row 3 breaks me"}}, {}) if "number 3<" in str(body["messages"]).replace("\\n", "<") else GOOD

    with stub(script) as server:
        answers, paid = asked(server, 12, retries=2)
        kinds = Counter(type(answer).__name__ for answer in answers)
    assert kinds == {"Answered": 11, "Failed": 1}
    assert isinstance(answers[3], Failed)
    assert "row 3 breaks me, 3 times" in answers[3].reason
    assert paid.teacher_calls == len(server.seen) == 14


def test_a_400_is_a_row_s_own_failure_and_a_filter_a_refusal():
    with stub((400, {"error": {"message": "too long"}}, {}), GOOD) as script:
        assert "400: too long" in asked(script)[0][0].reason
    with stub((400, {"error": {"message": "no", "code": "content_filter"}}, {})) as script:
        assert isinstance(asked(script)[0][0], Refused)
    with stub(text("", refusal="I must not")) as script:
        assert asked(script)[0][0] == Refused("the model refused: I must not")
    with stub(text("I can't say")) as script:
        assert asked(script, scoring="text")[0][0] == Refused('it said no label: "I can\'t say"')


FINAL = {
    "wrong key": ((401, {"error": {"message": "Incorrect API key provided: hunter2-key"}}, {}), r"401: Incorrect API key provided: \*\*\*(?s:.*)MY_TEST_KEY"),
    "unknown model": ((404, {"error": {"message": "no such model"}}, {}), r"404: no such model(?s:.*)'smollm2'(?s:.*)/models"),
    "no money": ((402, "", {}), "402(?s:.*)pay or take another key"),
    "quota": ((429, {"error": {"code": "insufficient_quota", "message": "out of money"}}, {}), "out of money(?s:.*)the account is used up"),
    "wait for a day": ((429, "later", {"Retry-After": "86400"}), "it asks to wait 86,400 more"),
    "redirect": ((307, "", {"Location": "http://10.0.0.1/v1"}), "sends us to http://10.0.0.1/v1; no redirect"),
    "no log-probabilities": (text("good"), r"no log-probabilities(?s:.*)scoring: text"),
    "always a page": ("<html>hello</html>", "the reply is no JSON: '<html>hello</html>'; 8 rows in a row"),
    "always 400": ((400, {"detail": "bad body"}, {}), "400: bad body; 8 rows in a row"),
}


@pytest.mark.parametrize("name", FINAL)
def test_what_holds_of_every_row_ends_the_run_with_value_place_and_remedy(name, monkeypatch):
    monkeypatch.setenv("MY_TEST_KEY", "hunter2-key")
    line, words = FINAL[name]
    with stub(line) as script, pytest.raises(TeacherError, match=words) as caught:
        asked(script, 40, api_key="env:MY_TEST_KEY")
    assert caught.value.place.startswith(("teacher.url: http://127", "teacher.scoring"))
    assert caught.value.remedy
    assert "hunter2" not in str(caught.value)
    assert len(script.seen) <= 72
    assert set(script.keys) == {"Bearer hunter2-key"}


def test_a_dead_server_is_named_and_nothing_is_counted():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    clock, booked = Simulated(), []
    made = teacher(url, clock=clock)
    left = iter(rows(50))
    with pytest.raises(TeacherError, match=r"no server answers at http://127(?s:.*)run the same command again"):
        for _, _, usage in made.calls(lambda: next(left, None), [LOGPROBS], lambda id, usage: booked.append(usage)):
            booked.append(usage)
    assert sum(booked, Usage()) == Usage()
    assert clock.slept


def test_a_storm_of_429_is_waited_out_with_all_rows_answered():
    storm = [(429, "storm", {"Retry-After": "20"})] * 25
    clock = Simulated()
    with stub(*storm, GOOD) as script:
        answers, paid = asked(script, 20, clock=clock, concurrency=8, retries=1)
    assert all(isinstance(answer, Answered) for answer in answers)
    assert paid.teacher_calls == len(script.seen) == 45
    assert clock.time - 1000 < 600


def test_a_storm_that_never_ends_ends_the_run_after_the_recipes_patience():
    clock = Simulated()
    with stub((429, "storm", {})) as script, pytest.raises(TeacherError, match="the quota may be used up"):
        asked(script, 5, clock=clock, concurrency=2, patience_s=60)
    assert clock.time - 1000 < 400


@pytest.mark.parametrize(("rate", "seconds"), [({"requests_per_minute": 60}, 29), ({"tokens_per_minute": 6600}, 2.5)])
def test_rates_are_kept(rate, seconds):
    clock = Simulated()
    with stub(GOOD) as script:
        asked(script, 30, clock=clock, concurrency=8, **rate)
    assert seconds <= clock.time - 1000 < seconds * 3
    assert len(script.seen) == 30


def test_tokens_a_server_does_not_count_are_those_that_were_reserved():
    with stub(tokens(("good", -0.1), ("bad", -3.0), usage=None)) as script:
        _, paid = asked(script, 2)
    assert paid.teacher_calls == 2
    assert paid.tokens_in > 20


def test_a_reply_of_another_form_is_a_failed_row():
    with stub({"choices": [{"logprobs": {"content": [{"top_logprobs": "?"}]}}]}, GOOD) as script:
        (answer,), _ = asked(script)
    assert "not of the protocol's form" in answer.reason


def test_the_plain_protocol_gives_the_same():
    with stub(GOOD) as script:
        made = teacher(script.url)
        found = dict(made.answer(rows(3), [LOGPROBS]))
    assert len(found) == 3
    np.testing.assert_allclose([np.exp(a.arrays[LOGPROBS]).sum() for a in found.values()], 1.0, atol=1e-6)


def test_an_interrupt_does_not_wait_for_what_is_in_flight():
    with stub(GOOD, "slow") as script:
        left = iter(rows(9))
        calls = teacher(script.url).calls(lambda: next(left, None), [LOGPROBS], lambda id, usage: None)
        next(calls)
        began = time.monotonic()
        calls.close()
        assert time.monotonic() - began < 0.5


def test_a_process_that_is_interrupted_ends_at_once():
    """A call in flight to a slow server holds nobody up, not even at the interpreter's end."""
    program = (
        "import sys\n"
        "from tests.teachers.endpoint.made import rows, teacher\n"
        "from tests.labels.fakes import LOGPROBS\n"
        "from potstill.teachers.endpoint.calls import WallClock\n"
        "left = iter(rows(9))\n"
        "calls = teacher(sys.argv[1], clock=WallClock()).calls(lambda: next(left, None), [LOGPROBS], lambda id, usage: None)\n"
        "print('begun', flush=True)\n"
        "next(calls)\n"
    )

    def hangs(body):
        time.sleep(20)
        return GOOD

    with stub(hangs) as script:
        process = subprocess.Popen([sys.executable, "-c", program, script.url], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        while not script.seen:
            time.sleep(0.01)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=15)
        assert time.monotonic() - began < 5

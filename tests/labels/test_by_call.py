"""Row by row over an endpoint: a budget that holds, kills that lose only what is in flight, a ledger that is the server's own count."""

from __future__ import annotations

import itertools
import random
import sqlite3
import threading
import time
from collections import Counter

import numpy as np
import pytest

from potstill.errors import BudgetError, TeacherError
from potstill.labels import Account, LabelStore, admin, ask
from potstill.labels.index import Index
from potstill.records import Failed, Limits, Refused
from tests.labels.fakes import LOGPROBS, Fake, examples
from tests.labels.processes import call, finish
from tests.teachers.endpoint.clock import Simulated
from tests.teachers.endpoint.faults import GOOD, stub, text, tokens
from tests.teachers.endpoint.made import rows, teacher

POINTS = (
    "labels.intent.after", "labels.settle.before", "labels.settle.after", "labels.shard.before", "labels.shard.after", "labels.gather.before",
    "labels.gather.after",
)  # fmt: skip


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels") as store:
        yield store


def slowly(body):
    """What a row is told depends on the row, and takes a few milliseconds."""
    time.sleep(0.005)
    said = str(body["messages"][-1]["content"])
    return tokens(("good", -0.1 - (len(said) + int("".join(filter(str.isdigit, said)) or 0)) % 7 / 10), ("bad", -1.5))


def asked(script):
    return Counter(body["messages"][-1]["content"] for body in script.seen)


def test_each_row_is_one_call_and_the_ledger_is_the_servers_count(store):
    with stub(slowly) as script:
        made = teacher(script.url, usd_per_million_in=2.0, usd_per_million_out=10.0)
        answers = ask(made, rows(300), [LOGPROBS], Account(store, run="r"))
        more = ask(made, rows(310), [LOGPROBS], Account(store, run="r"))
    assert (answers.usage.teacher_calls, answers.usage.tokens_in, answers.usage.tokens_out) == (300, 3000, 300)
    assert (more.usage.teacher_calls, more.usage.cached_calls) == (10, 300)
    assert max(asked(script).values()) == 1
    spent = store.spent("r")
    assert (spent.calls, spent.tokens_in, spent.tokens_out, spent.in_flight, spent.possibly_paid) == (310, 3100, 310, 0, 0)
    assert spent.usd == pytest.approx(310 * 30e-6)
    assert len(admin.ls(store.root)) == 1
    assert admin.ls(store.root)[0]["shards"] == 3  # 256 and the rest, then ten
    told = admin.stats(store.root)
    assert (told["rows"], told["calls"], told["tokens_in"], told["usd"]) == (310, 310, 3100, pytest.approx(0.0093))


def test_answers_refusals_and_failures_add_up_and_refusals_are_kept(store):
    def mixed(body):
        number = int(body["messages"][-1]["content"].split("number ")[1].split("\n")[0])
        return [(500, "broken", {}), text("what?"), text("good"), text("bad")][number % 4]

    with stub(mixed) as script:
        made = teacher(script.url, scoring="text", retries=1)
        answers = ask(made, rows(40), [LOGPROBS], Account(store))
        assert answers.counts == {"answered": 20, "refused": 10, "failed": 10}
        assert isinstance(answers.of(rows(1)[0].id), Failed)
        assert answers.of(rows(2)[1].id) == Refused("it said no label: 'what?'")
        assert answers.usage.teacher_calls == len(script.seen) == 50 == store.spent("").calls
        before = len(script.seen)
        again = ask(made, rows(40), [LOGPROBS], Account(store))
    assert len(script.seen) - before == 20 == again.usage.teacher_calls  # the failed ones alone, twice each
    assert again.usage.cached_calls == 30


LIMITS = {"tokens": Limits(tokens=1500), "usd": Limits(usd=0.0015), "calls": Limits(calls=70)}


@pytest.mark.parametrize("kind", LIMITS)
def test_a_budget_holds_under_sixteen_concurrent_calls(store, kind):
    arrived, together = itertools.count(1), threading.Event()

    def held_up(body):
        """Answer nobody before nine are there at once, however slow the machine is."""
        if next(arrived) >= 9:
            together.set()
        together.wait(30)
        return GOOD

    with stub(held_up) as script:
        made = teacher(script.url, concurrency=16, usd_per_million_in=1.0, usd_per_million_out=1.0)
        with pytest.raises(BudgetError, match=r"used up: \d+ of 200 answers are there"):
            ask(made, rows(200), [LOGPROBS], Account(store, run="r", limits=LIMITS[kind]))
        assert script.most > 8
        spent, first = store.spent("r"), len(script.seen)
        assert spent.calls == first == len(store.get([key for (key,) in store.index.query("SELECT key FROM rows")], LOGPROBS))
        limit = LIMITS[kind]
        assert {"tokens": spent.tokens_in + spent.tokens_out <= 1500, "usd": spent.usd <= 0.0015, "calls": first == 70}[kind]
        assert first > 55  # and little of it is left
        assert spent.in_flight == 0
        with pytest.raises(BudgetError):
            ask(made, rows(200), [LOGPROBS], Account(store, run="r", limits=limit))
        assert len(script.seen) <= first + 8  # what was set aside for the last ones turned out too much
        answers = ask(made, rows(200), [LOGPROBS], Account(store, run="r", limits=Limits(tokens=10**6)))
    assert answers.counts["answered"] == 200
    assert max(asked(script).values()) == 1


def test_attempts_that_fail_count_against_the_budget(store):
    with stub((500, "x", {})) as script:
        with pytest.raises((BudgetError, TeacherError)):
            ask(teacher(script.url, retries=1, concurrency=1), rows(50), [LOGPROBS], Account(store, limits=Limits(calls=6)))
        assert len(script.seen) <= 7


def test_a_dead_server_is_met_again_an_hour_later(store):
    clock, seen = Simulated(), []

    def dies(body):
        seen.append(body)
        return GOOD if len(seen) <= 25 else "cut"

    with stub(dies) as script, pytest.raises(TeacherError, match="run the same command again"):
        ask(teacher(script.url, clock=clock), rows(60), [LOGPROBS], Account(store, run="r"))
    held = store.spent("r")
    assert (held.calls, held.in_flight) == (25, 0)
    assert held.calls + held.possibly_paid == len(seen)
    clock.time += 3600
    with stub(GOOD) as script:
        answers = ask(teacher(script.url, clock=clock), rows(60), [LOGPROBS], Account(store, run="r"))
        assert len(script.seen) == 35
    assert answers.counts["answered"] == 60
    spent = store.spent("r")
    assert spent.calls == 60
    assert spent.possibly_tokens > 0


def test_an_interrupt_keeps_what_came_and_books_what_is_in_flight(store):
    with stub(slowly) as script:
        made = teacher(script.url)
        plain = made.calls

        def interrupted(take, wants, booked, **more):
            for n, found in enumerate(plain(take, wants, booked, **more)):
                if n == 10:
                    raise KeyboardInterrupt
                yield found

        made.calls = interrupted
        with pytest.raises(KeyboardInterrupt):
            ask(made, rows(40), [LOGPROBS], Account(store, run="r"))
        made.calls = plain
        answers = ask(made, rows(40), [LOGPROBS], Account(store, run="r"))
    assert answers.usage.cached_calls == 10
    assert 1 <= answers.usage.possibly_paid <= 4
    spent = store.spent("r")
    assert spent.calls <= len(script.seen) <= spent.calls + spent.possibly_paid


def undisturbed(tmp_path_factory, count=40):
    with stub(slowly) as script:
        result = finish(call(tmp_path_factory.mktemp("undisturbed"), script.url, rows=count))
        assert result["calls"] == len(script.seen) == count
    return result["content"]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return undisturbed(tmp_path_factory)


def books_balance(result, script):
    """The server's own count lies between what was settled and that plus what was possibly paid, to the token."""
    spent = result["spent"]
    assert spent["in_flight"] == 0
    assert spent["calls"] <= len(script.seen) <= spent["calls"] + spent["possibly_paid"]
    served = 11 * len(script.seen)
    assert spent["tokens_in"] + spent["tokens_out"] <= served <= spent["tokens_in"] + spent["tokens_out"] + spent["possibly_tokens"]
    assert sum(n - 1 for n in asked(script).values()) <= spent["possibly_paid"]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_write_point_nothing_durable_is_asked_again(tmp_path, point, content):
    with stub(slowly) as script:
        killed = call(tmp_path, script.url, kill_at=f"{point}:{1 if 'gather' in point or 'shard' in point else 9}")
        killed.communicate(timeout=60)
        assert killed.returncode == -9
        before = len(script.seen)
        with LabelStore(tmp_path / "labels") as store:
            durable = len(store.index.query("SELECT key FROM rows"))  # after what was left was gathered
            assert not store.index.query("SELECT key FROM journal")
        result = finish(call(tmp_path, script.url))
    assert durable == {"labels.intent.after": durable, "labels.settle.before": 8, "labels.settle.after": 9}.get(point, 40)
    assert result["content"] == content
    assert result["calls"] == 40 - durable
    assert len(script.seen) == before + 40 - durable
    assert result["possibly_paid"] <= 4
    books_balance(result, script)


@pytest.mark.slow
def test_killed_twenty_times_nothing_durable_is_asked_again(tmp_path, tmp_path_factory):
    moments, durable = random.Random(0), []
    expected = undisturbed(tmp_path_factory, 400)
    with stub(slowly) as script:
        for _ in range(20):
            begun, process = len(script.seen), call(tmp_path, script.url, rows=400)
            while len(script.seen) == begun and process.poll() is None:
                time.sleep(0.005)
            time.sleep(moments.uniform(0.0, 0.15))
            process.kill()
            process.communicate()
            with LabelStore(tmp_path / "labels") as store:
                durable.append(len(store.index.query("SELECT key FROM rows")))
        result = finish(call(tmp_path, script.url, rows=400))
    assert result["content"] == expected
    assert durable == sorted(durable)
    assert durable[0] < 400
    assert result["spent"]["possibly_paid"] <= 20 * 4
    books_balance(result, script)


def test_two_processes_at_once_never_ask_the_same(tmp_path, content):
    with stub(slowly) as script:
        results = [finish(process) for process in [call(tmp_path, script.url) for _ in range(2)]]
        assert max(asked(script).values()) == 1
    assert [result["content"] for result in results] == [content, content]
    assert sum(result["calls"] for result in results) == 40 == len(script.seen)


def test_a_journal_keeps_answers_to_the_bit(store, tmp_path):
    """What a dead process left in the journal is what it was told."""
    with stub(slowly) as script:
        kept = ask(teacher(script.url), rows(9), [LOGPROBS], Account(store)).array([row.id for row in rows(9)], LOGPROBS)
        other = tmp_path / "other"
        call(other, script.url, rows=9, kill_at="labels.shard.before:1").communicate(timeout=60)
        with LabelStore(other / "labels") as second:
            found = ask(teacher("http://127.0.0.1:9/v1", usd_per_million_in=1.0), rows(9), [LOGPROBS], Account(second, offline=True))
            np.testing.assert_array_equal(found.array([row.id for row in rows(9)], LOGPROBS), kept)
        assert time.time() - admin.ls(other / "labels")[0]["first"] < 60  # or `gc --older-than` would take it at once


def test_a_ledger_of_an_older_potstill_is_read_and_goes_on(tmp_path):
    with LabelStore(tmp_path / "labels") as store:
        ask(Fake(), examples(4), [LOGPROBS], Account(store, run="r"))
    with sqlite3.connect(tmp_path / "labels" / "index.sqlite") as db:
        for name in ("tokens_in", "tokens_out", "usd", "possibly_tokens", "possibly_usd", "reserved_tokens", "reserved_usd"):
            db.execute(f"ALTER TABLE batches DROP COLUMN {name}")
        db.execute("DROP TABLE journal")
    db.close()
    with LabelStore(tmp_path / "labels") as store:
        assert (store.spent("r").calls, store.spent("r").usd) == (4, 0.0)
        ask(Fake(), examples(6), [LOGPROBS], Account(store, run="r"))
        assert (store.spent("r").calls, store.spent("r").usd) == (6, pytest.approx(0.004))


def test_two_processes_may_upgrade_a_ledger_at_once(tmp_path):
    (tmp_path / "labels").mkdir()
    found, begin = [], threading.Barrier(4)

    def opens():
        begin.wait()
        index = Index(tmp_path / "labels")
        found.append(index.spent().calls)
        index.close()

    threads = [threading.Thread(target=opens) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert found == [0] * 4


def test_prices_are_of_each_row(store):
    with stub(GOOD) as script:
        made = teacher(script.url, usd_per_million_in=2.0)
        ask(made, rows(5), [LOGPROBS], Account(store))
    assert store.index.prices(made.identity()) == [(10, 1, pytest.approx(2e-5))] * 5

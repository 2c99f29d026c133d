"""Files of requests: each row is asked once however the work is cut off, the ledger is the server's own count, and nothing that is there is sent again."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest

from potstill.errors import BudgetError, TeacherError
from potstill.labels import Account, LabelStore, ask
from potstill.records import Failed, Limits
from potstill.runlog import RunLog
from tests.labels.fakes import LOGPROBS
from tests.labels.processes import call, finish
from tests.teachers.endpoint.clock import Simulated
from tests.teachers.endpoint.faults import text, tokens
from tests.teachers.endpoint.filing import desk
from tests.teachers.endpoint.made import rows, teacher

BATCH = {"rows": 30, "least": 10, "poll_s": 0.01}


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels") as store:
        yield store


def number(body) -> int:
    return int(re.search(r"number (\d+)", body["messages"][-1]["content"])[1])


def good(body):
    return 200, tokens(("good", -0.1 - number(body) % 7 / 10), ("bad", -1.5))


def made(url, batch=BATCH, **options):
    return teacher(url, batch=batch, usd_per_million_in=1.0, **options)


def test_all_rows_go_up_in_files_and_the_ledger_is_the_servers_count(store, tmp_path):
    clock = Simulated()
    with desk(good) as server:
        answers = ask(made(server.url, clock=clock), rows(70), [LOGPROBS], Account(store, run="r"))
        more = ask(made(server.url), rows(85), [LOGPROBS], Account(store, run="r"))
        few = ask(made(server.url), rows(90), [LOGPROBS], Account(store, run="r"))
    assert answers.counts == {"answered": 70, "refused": 0, "failed": 0}
    assert (answers.usage.teacher_calls, more.usage.teacher_calls, few.usage.teacher_calls) == (70, 15, 5)
    assert len(server.batches) == 4  # 30, 30, 10; 15; the last five were not worth a file
    assert server.asked.count("direct") == 5
    assert max(count for id, count in Counter(server.asked).items() if id != "direct") == 1
    assert set(clock.slept) == {0.01}
    spent = store.spent("r")
    assert (spent.calls, spent.in_flight, spent.possibly_paid, spent.tokens_in + spent.tokens_out) == (90, 0, 0, server.tokens)
    assert not server.files  # what was kept here was deleted there
    with LabelStore(tmp_path / "direct") as other:
        plain = ask(teacher(server.url), [], [LOGPROBS], Account(other))
        assert plain.counts["answered"] == 0


def test_a_file_and_single_calls_give_the_same_answers(store, tmp_path):
    with desk(good) as server:
        found = ask(made(server.url), rows(40), [LOGPROBS], Account(store))
        with LabelStore(tmp_path / "other") as other:
            single = ask(teacher(server.url), rows(40), [LOGPROBS], Account(other))
            ids = [row.id for row in rows(40)]
            assert (found.array(ids, LOGPROBS) == single.array(ids, LOGPROBS)).all()
            assert made(server.url).identity() == teacher(server.url).identity()  # what one was told, the other finds


def test_a_row_s_failure_is_its_own_and_what_may_pass_is_sent_again(store):
    seen = Counter()

    def mixed(body):
        n = number(body)
        seen[n] += 1
        if n % 4 == 0:
            return 500, {"error": {"message": "broken"}}
        if n % 4 == 1:
            return 400, {"error": {"message": "too long", "code": "content_filter"}}
        if n % 4 == 2 and seen[n] == 1:
            return 429, {"error": {"message": "busy"}}
        return 200, text("what?") if n % 4 == 3 else text("good")

    with desk(mixed) as server:
        answers = ask(made(server.url, scoring="text", retries=2), rows(40), [LOGPROBS], Account(store))
    assert answers.counts == {"answered": 10, "refused": 20, "failed": 10}
    assert answers.of(rows(1)[0].id) == Failed("the server said 500: broken, 3 times")
    assert seen[0] == 3
    assert seen[2] == 2
    assert answers.usage.teacher_calls == sum(seen.values()) == store.spent("").calls


@pytest.mark.parametrize("end", ["expired", "vanished"])
def test_rows_that_a_batch_never_came_to_are_sent_again_and_not_paid_twice(store, end):
    with desk(good) as server:
        server.ends = [end]
        answers = ask(made(server.url), rows(30), [LOGPROBS], Account(store))
        assert answers.counts["answered"] == 30
        assert len(server.batches) == 2
        assert answers.usage.teacher_calls == len(server.asked) == 30
        assert store.spent("").possibly_paid == 0


def test_a_file_that_is_refused_is_told_and_costs_nothing(store):
    with desk(good) as server:
        server.ends = ["failed"]
        with pytest.raises(TeacherError, match="refused the file: line 1 is no request"):
            ask(made(server.url), rows(30), [LOGPROBS], Account(store, run="r"))
        assert (store.spent("r").calls, store.spent("r").possibly_paid) == (0, 0)


def test_a_server_without_batches_is_told_from_one_without_the_model(store):
    with desk(good) as server:
        server.faults["POST /files"] = [(404, {"error": {"message": "not here"}})]
        with pytest.raises(TeacherError, match=r"(?s)the server said 404: not here.*without `batch` it is asked call by call"):
            ask(made(server.url), rows(30), [LOGPROBS], Account(store))


@pytest.mark.parametrize("metadata", [True, False])
def test_a_batch_whose_number_was_lost_is_found_by_its_name_else_booked(store, metadata):
    with desk(good) as server:
        server.faults["POST /batches"] = ["cut", "cut"]
        answers = ask(made(server.url, batch={**BATCH, "metadata": metadata}), rows(30), [LOGPROBS], Account(store, run="r"))
        assert answers.counts["answered"] == 30
        spent = store.spent("r")
        assert len(server.batches) == (1 if metadata else 3)
        assert spent.possibly_paid == (0 if metadata else 60)
        assert spent.calls == 30 <= len(server.asked) <= spent.calls + spent.possibly_paid


def test_a_busy_or_broken_server_is_waited_for_as_long_as_the_recipe_has_patience(store):
    clock = Simulated()
    with desk(good) as server:
        server.faults = {"POST /files": [(429, {"error": "busy"}), (503, {}), None], "GET /batches/batch-0": ["cut", (500, {}), None]}
        answers = ask(made(server.url, clock=clock), rows(30), [LOGPROBS], Account(store))
        assert answers.counts["answered"] == 30
        assert sum(clock.slept) >= 40
        server.faults["POST /files"] = [(503, {"error": {"message": "down"}})] * 1000
        with pytest.raises(TeacherError, match="the server said 503: down"):
            ask(made(server.url, clock=clock), rows(60), [LOGPROBS], Account(store))


def test_a_budget_holds_for_files_too(store):
    with desk(good) as server:
        teacher = made(server.url)
        with pytest.raises(BudgetError, match=r"used up: \d+ of 200 answers are there"):
            ask(teacher, rows(200), [LOGPROBS], Account(store, run="r", limits=Limits(tokens=1000)))
        spent = store.spent("r")
        assert spent.tokens_in + spent.tokens_out == server.tokens <= 1000
        assert server.tokens > 700


def test_progress_tells_how_far_the_server_is(store):
    told = []
    with desk(good, polls=3) as server:
        ask(made(server.url), rows(30), [LOGPROBS], Account(store, RunLog(listeners=[lambda record: told.append(record.get("detail"))])))
    assert "30 rows were sent up" in told
    assert any(words and words.startswith("in_progress at the server") for words in told)


POINTS = ("labels.intent.after", "labels.sending.after", "labels.sent.before", "labels.sent.after", "labels.settle.before", "labels.settle.after",
          "labels.shard.before", "labels.gather.before", "labels.gather.after")  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_write_point_no_row_is_asked_twice(tmp_path, point):
    with desk(good) as server:
        nth = {"labels.intent.after": 9, "labels.settle.before": 9, "labels.settle.after": 9}.get(point, 1)
        killed = call(tmp_path, server.url, kill_at=f"{point}:{nth}", batch=BATCH)
        killed.communicate(timeout=60)
        assert killed.returncode == -9
        result = finish(call(tmp_path, server.url, batch=BATCH))
        assert max(Counter(server.asked).values()) == 1
        assert len(server.asked) == 40
    spent = result["spent"]
    assert result["counts"]["answered"] == 40
    assert (spent["in_flight"], spent["calls"]) == (0, 40)
    assert spent["possibly_paid"] <= (9 if point == "labels.intent.after" else 0)  # claimed, and never sent: that can't be told from outside
    assert spent["tokens_in"] + spent["tokens_out"] == server.tokens


@pytest.mark.slow
def test_killed_twenty_times_at_any_moment_no_row_is_asked_twice(tmp_path):
    with desk(good, polls=3) as server:
        for n in range(20):
            process = call(tmp_path, server.url, rows=120, batch=BATCH)
            time.sleep(1.0 + n * 0.02)
            process.kill()
            process.communicate()
        result = finish(call(tmp_path, server.url, rows=120, batch=BATCH))
        assert max(Counter(server.asked).values()) == 1
        assert len(server.asked) == 120 == result["spent"]["calls"]


def test_two_processes_at_once_never_ask_the_same(tmp_path):
    with desk(good, polls=4) as server:
        results = [finish(process) for process in [call(tmp_path, server.url, batch=BATCH) for _ in range(2)]]
        assert max(Counter(server.asked).values()) == 1
    assert results[0]["content"] == results[1]["content"]
    assert sum(result["calls"] for result in results) == 40


def test_a_batch_that_the_server_has_forgotten_is_booked_and_sent_again(tmp_path):
    with desk(good) as server:
        call(tmp_path, server.url, kill_at="labels.sent.after:1", batch=BATCH).communicate(timeout=60)
        server.batches.pop("batch-0")
        result = finish(call(tmp_path, server.url, batch=BATCH))
    assert result["counts"]["answered"] == 40
    assert result["spent"]["possibly_paid"] == 30

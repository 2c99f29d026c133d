"""Progress: few lines where nobody watches, a bar on a terminal, and remaining times that can be believed."""

from __future__ import annotations

import io
import logging
import warnings

import pytest

from potstill.cli.plan import Plan, plan_of
from potstill.cli.render import EVERY_SECONDS, Lines, Live, Screen, Silent, duration, screen
from potstill.cli.tables import grid, pairs
from potstill.recipe import load
from potstill.runlog import RunLog


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def watched():
    clock, out, log = Clock(), io.StringIO(), RunLog()
    plan = Plan((("data", 10.0), ("train.a", 100.0), ("train.b", 100.0)))
    log.listeners.append(Screen(Lines(out, clock), plan, clock))
    return clock, out, log


def test_lines_are_few(watched):
    clock, out, log = watched
    with log.stage("train.a", "training a"):
        for step in range(1000):
            clock.now += 0.1
            log.progress("train.a", step, 1000, f"step {step}")
    lines = out.getvalue().splitlines()
    assert len(lines) <= 100 / EVERY_SECONDS + 3
    assert lines[0] == "training a ..."
    assert lines[-1] == "training a: 1:40"


def test_many_short_stages_are_a_line_each(watched):
    clock, out, log = watched
    for number in range(20):
        with log.stage(f"s{number}", f"stage {number}"):
            clock.now += 0.1
    assert len(out.getvalue().splitlines()) <= 22


def test_remaining_time_of_stage_and_run(watched):
    clock, out, log = watched
    with log.stage("data", "reading"):
        clock.now += 5
    with log.stage("train.a", "training a"):
        for step in range(11):
            clock.now += 5
            log.progress("train.a", step * 10, 200)
    last = out.getvalue().splitlines()[-2]
    assert "training a" in last
    assert "left; whole run: about" in last
    assert "0:5" in last or "0:4" in last or "1:" in last


def test_warnings_and_words_are_lines(watched):
    _, out, log = watched
    log.warn("the pool is small")
    log.say("rows: 3")
    log.event("teacher.call", n=1)
    assert out.getvalue().splitlines() == ["note: the pool is small", "rows: 3"]


def test_a_stage_that_failed_says_so(watched):
    _, out, log = watched
    with pytest.raises(ValueError), log.stage("data", "reading"):
        raise ValueError
    assert out.getvalue().splitlines()[-1] == "reading: 0:00, not finished"


def test_one_stage_doing_anothers_work_is_named_after_both(watched):
    clock, out, log = watched
    with log.stage("label", "asking about 9 rows"):
        clock.now += EVERY_SECONDS
    with log.stage("test", "opening the test rows"):
        clock.now += EVERY_SECONDS
        log.progress("label", 1, 2)
    assert "opening the test rows, label 50%" in out.getvalue().splitlines()


class TestPlan:
    def test_stages_found_finished_are_skipped(self):
        plan = Plan((("a", 50.0), ("b", 50.0), ("c", 50.0)))
        plan.start("b", 0.0)
        assert plan.remaining(0.5, 10.0) == pytest.approx(10 + 20)
        plan.end("b", 20.0)
        plan.start("c", 20.0)
        assert plan.remaining(0.0, 20.0) == pytest.approx(20.0)
        plan.end("c", 40.0)
        assert plan.remaining(0.0, 40.0) == pytest.approx(0.0)

    def test_unknown_stages_and_the_beginning_give_no_figure(self):
        plan = Plan((("a", 50.0),))
        plan.start("zzz", 0.0)
        assert plan.remaining(0.5, 1.0) is None
        plan.start("a", 1.0)
        assert plan.remaining(0.0, 1.0) is None

    def test_a_recipe_gives_its_stages_in_order(self, recipe):
        names = [name for name, _ in plan_of(load(recipe, ["teacher.adapt={how: head}"])).stages]
        assert names[:4] == ["data", "adapt", "measure", "label"]
        assert "train.half.distilled.0" in names
        assert "train.ngram.control.0" in names
        assert names[-3:] == ["speed", "test", "robustness"]
        assert [name for name, _ in plan_of(load(recipe), "measure").stages] == ["data", "measure"]


def test_a_terminal_gets_a_bar_that_goes_away(capsys):
    live = Live()
    shown = Screen(live, Plan())
    for event in (
        {"event": "stage.start", "stage": "a", "title": "training [bold]a"},
        {"event": "progress", "stage": "a", "done": 1, "total": 2, "detail": "0.9"},
        {"event": "say", "text": "[x] said"},
        {"event": "stage.end", "stage": "a", "how": "done"},
    ):
        shown(event)
    live.stop()
    assert "[x] said" in capsys.readouterr().err


def test_silence_is_silent(capsys):
    shown = Screen(Silent(), Plan())
    shown({"event": "warning", "text": "x"})
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (723, "12:03"), (3723, "1:02:03"), (-1, "0:00")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_tables_align_and_leave_out_what_is_empty():
    text = grid([{"name": "a", "n": 1, "x": None}, {"name": "long", "n": 1000, "x": None}])
    assert text == "name      n\n----  -----\na         1\nlong  1,000"
    assert grid([], empty="none") == "none"
    assert pairs({"a": True, "long": 0.5}) == "a     yes\nlong  0.5"


def test_what_libraries_say_goes_to_the_events(tmp_path, capfd):
    log = RunLog(tmp_path / "events.jsonl")
    with warnings.catch_warnings(action="always"), screen(log, plan=Plan(), quiet=True):
        logging.warning("please consider %s", "pre-processing")
        warnings.warn("old", FutureWarning, stacklevel=1)
    assert capfd.readouterr() == ("", "")
    text = (tmp_path / "events.jsonl").read_text()
    assert "please consider pre-processing" in text
    assert "FutureWarning" in text

"""Who agrees to a cost: --yes, a person at a terminal, or nobody."""

from __future__ import annotations

import sys
from contextlib import contextmanager

import pytest
import typer

from potstill.cli import distil


@contextmanager
def paused():
    yield


def terminal(monkeypatch, *, is_one: bool):
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: is_one)


def test_yes_agrees_to_all(monkeypatch):
    terminal(monkeypatch, is_one=False)
    assert distil._consent(True, paused)("4 USD; go on?") is True


def test_without_a_terminal_there_is_nobody(monkeypatch):
    terminal(monkeypatch, is_one=False)
    assert distil._consent(False, paused) is None


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_is_asked_while_the_bar_stands_still(monkeypatch, answer):
    events = []

    @contextmanager
    def still():
        events.append("still")
        yield
        events.append("on")

    def confirm(words, *, err):
        events.append((words, err))
        return answer

    terminal(monkeypatch, is_one=True)
    monkeypatch.setattr(typer, "confirm", confirm)
    assert distil._consent(False, still)("4 USD; go on?") is answer
    assert events == ["still", ("4 USD; go on?", True), "on"]

"""Each mutant's line stands where it says, and once: told in a second, not after the slow tests."""

from __future__ import annotations

from .mutants import ROOT, gather


def test_each_mutant_spoils_exactly_one_place():
    wrong = [
        f"trap {mutant.trap}, {mutant.file}: {mutant.old!r} stands {found} times"
        for mutant in gather()
        if (found := (ROOT / "src" / "potstill" / mutant.file).read_text("utf-8").count(mutant.old)) != 1
    ]
    assert not wrong

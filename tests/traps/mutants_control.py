"""What the tests of trap 54 must catch."""

from __future__ import annotations

from .mutants import Mutant

TESTS = "traps/test_traps_control.py::test_trap_54_the_control_"
MUTANTS = [
    Mutant(
        54,
        "steps/learn.py",
        "plan = _plan(work, spec, len(lesson.rows), ",
        "plan = _plan(work, spec, len(rows), ",
        f"{TESTS}has_the_same_compute",
    ),
    Mutant(
        54,
        "steps/learn.py",
        'return teaching.source if arm == "control" or source == "scratch" else teaching.folder',
        "return teaching.folder",
        f"{TESTS}does_not_start_from_the_teacher",
    ),
    Mutant(
        54,
        "steps/learn.py",
        'terms = said.of(work, data).control_terms(own) if arm == "control" else own',
        "terms = own",
        f"{TESTS}learns_from_gold_labels_alone",
    ),
    Mutant(
        54,
        "steps/learn.py",
        'rows = tuple(e for e in lesson.gold if e.gold is not None) if arm == "control" else lesson.rows',
        "rows = lesson.rows",
        f"{TESTS}learns_from_gold_labels_alone",
    ),
]

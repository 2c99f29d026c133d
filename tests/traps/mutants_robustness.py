"""What the tests of changed texts must catch."""

from __future__ import annotations

from .mutants import Mutant

TESTS = "traps/test_traps_robustness.py::test_trap_"
MUTANTS = [
    Mutant(
        trap=56,
        file="steps/robustness.py",
        old="yield candidate.model.name, self._predictor(candidate.artifact.folder)",
        new="yield candidate.model.name, self._predictor(candidate.model.artifact.folder)",
        test=f"{TESTS}56_what_ships_is_asked_about_changed_texts",
    ),
    Mutant(
        trap=55,
        file="evaluation/robustness.py",
        old="low, high = min(low, found - _unseen(",
        new="low, high = min(low, found - 0 * _unseen(",
        test=f"{TESTS}55_no_turned_answer_is_no_certainty",
    ),
]

"""What the tests of trap 56 must catch."""

from __future__ import annotations

from .mutants import Mutant

TESTS = "traps/test_traps_measuring.py::test_trap_56_"
MUTANTS = [
    Mutant(56, "measuring/measure.py", "WARM_UP = 10", "WARM_UP = 1", f"{TESTS}cold_calls_are_not_timed"),
    Mutant(
        56,
        "measuring/openers.py",
        'Predictor").open(Path(spec["folder"])',
        'Predictor").open(Path(spec["folder"]).parents[1] / "trained" / "artifact"',
        f"{TESTS}what_is_measured_is_the_artifact_that_ships",
    ),
]

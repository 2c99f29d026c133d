"""What the tests of trap 59 must catch."""

from __future__ import annotations

from .mutants import Mutant

TESTS = "traps/test_traps_cascade.py::test_trap_59_"
MUTANTS = [
    Mutant(
        59,
        "cascade/sequence.py",
        "hits <= most_wrong(kept, risk, alpha)",
        "hits <= risk * kept",
        f"{TESTS}the_policy_misses_its_risk_no_more_often_than_promised",
    ),
    Mutant(
        59,
        "cascade/sequence.py",
        "        if not step.certified:\n            break\n        chosen = step",
        "        chosen = step if step.wrong <= risk * step.kept else chosen",
        f"{TESTS}nor_where_each_label_has_its_own_threshold",
    ),
    Mutant(
        59,
        "cascade/sequence.py",
        "        return -1\n",
        "        return 0\n",
        f"{TESTS}too_few_rows_pass_all_on_and_say_how_many_would_do",
    ),
]

"""Wrong lines in the token store, each with the trap's test that must notice it."""

from __future__ import annotations

from tests.traps.mutants import Mutant

TESTS = "traps/test_traps_token_store.py::test_trap_"
FOLDER = "labels/tokens"

MUTANTS = [
    Mutant(
        43,
        f"{FOLDER}/positions.py",
        "for value in values:\n        positions, body",
        "for value in sorted(values):\n        positions, body",
        f"{TESTS}43_each_row_meets_its_own_tokens_in_any_order",
    ),
    Mutant(
        43,
        f"{FOLDER}/sampled.py",
        'seed.to_bytes(8, "little") + key)',
        'seed.to_bytes(8, "little"))',
        f"{TESTS}43_draws_hang_on_what_the_row_is_not_on_when_it_is_asked",
    ),
    Mutant(44, f"{FOLDER}/frame.py", "if who != reader:", "if False:", f"{TESTS}44_rows_are_read_with_the_codebook_that_wrote_them"),
    Mutant(
        45,
        f"{FOLDER}/positions.py",
        "out[at] = before[:active] = value",
        "out[at - 1] = before[:active] = value",
        f"{TESTS}45_positions_stand_where_they_stood",
    ),
    Mutant(46, f"{FOLDER}/select.py", "finite = np.isfinite(value)", "finite = np.ones(len(value), bool)", f"{TESTS}46_fewer_than_k_and_minus_infinity"),
    Mutant(
        46,
        f"{FOLDER}/sparse.py",
        "np.full(inside.shape, -np.inf, np.float32)",
        "np.zeros(inside.shape, np.float32)",
        f"{TESTS}46_fewer_than_k_and_minus_infinity",
    ),
    Mutant(47, f"{FOLDER}/sparse.py", "- np.log(sums) - UNDER", "- np.log(sums) * 0 - UNDER", f"{TESTS}47_kept_mass_is_at_most_1"),
    Mutant(47, f"{FOLDER}/sparse.py", "- np.log(sums) - UNDER", "- np.log(sums)", f"{TESTS}47_kept_mass_is_at_most_1"),
]

"""Wrong lines in asking an endpoint, each with the trap's test that must notice it."""

from __future__ import annotations

from tests.traps.mutants import Mutant

TESTS = "traps/test_traps_endpoint.py::test_trap_"

MUTANTS = [
    Mutant(
        46, "teachers/endpoint/scoring.py", "self.words.shares(found, min(min(tokens.values()), left))", "self.words.shares(found, 0.5)",
        f"{TESTS}46_odd_lists_of_first_tokens",
    ),
    Mutant(
        46, "teachers/endpoint/scoring.py", "return np.asarray(logs - np.logaddexp.reduce(logs), np.float32)[None]", "return np.asarray(logs, np.float32)[None]",
        f"{TESTS}46_odd_lists_of_first_tokens",
    ),
    Mutant(
        48, "labels/store.py", "journal.gather(self.index, [self._entry(origin, fresh)] if fresh else [], batches)", "journal.gather(self.index, [], batches)",
        f"{TESTS}48_a_killed_process_loses_what_is_in_flight_alone",
    ),
    Mutant(49, "teachers/endpoint/calls.py", '"said": lambda call: BUSY', '"said": lambda call: Usage()', f"{TESTS}49_to_the_token_retries_too"),
    Mutant(49, "teachers/endpoint/calls.py", "        self.booked(call.id, usage)\n", "", f"{TESTS}49_to_the_token_retries_too"),
    Mutant(49, "labels/by_call.py", "now.teacher_calls + now.possibly_paid", "0", f"{TESTS}49_a_budget_counts_attempts"),
    Mutant(52, "steps/ready.py", '(data.train.examples, spec.prompt.shots', '(data.validation.examples, spec.prompt.shots', f"{TESTS}52_shots_are_no_rows_that_judge_nor_like_them"),
]  # fmt: skip

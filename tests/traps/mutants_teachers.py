"""Wrong lines in teachers that are files, functions or several of these, each with the trap's test that must notice it."""

from __future__ import annotations

from tests.traps.mutants import Mutant

TESTS = "traps/test_traps_teachers.py::test_trap_"
POOL = "np.logaddexp.reduce(logprobs.astype(np.float64) + np.log(weights)[:, None, None], axis=0)"

MUTANTS = [
    Mutant(
        32, "teachers/ensemble.py", POOL, "(logprobs.astype(np.float64) * weights[:, None, None]).sum(axis=0)",
        f"{TESTS}32_one_teacher_scaled_by_five_does_not_dominate",
    ),
    Mutant(32, "teachers/ensemble.py", "np.log(weights)[:, None, None]", "np.log(1 / len(weights))", f"{TESTS}32_weights_are_of_probabilities"),
    Mutant(32, "teachers/ensemble.py", "answer.arrays[LOGPROBS][:, columns]", "answer.arrays[LOGPROBS]", f"{TESTS}32_label_orders_are_aligned_first"),
    Mutant(
        35, "teachers/graph.py", "scores[[self._names.index(label) for label in self.labels]]", "scores",
        f"{TESTS}35_outputs_of_a_graph_are_aligned_by_name",
    ),
    Mutant(
        35, "teachers/function.py", "logprobs(role, value, self._names, {}, self.labels)", "logprobs(role, value, self.labels, {}, self.labels)",
        f"{TESTS}35_bare_lists_are_aligned_by_the_names_given",
    ),
    Mutant(44, "teachers/onnx_file.py", "files, storage.sha256_file(tokenizer_of(spec)), ", "files, ", f"{TESTS}44_the_key_holds_all_that_a_graph_answers_by"),
    Mutant(44, "teachers/onnx_file.py", '"onnx", VERSION, files, ', '"onnx", VERSION, ', f"{TESTS}44_the_key_holds_all_that_a_graph_answers_by"),
    Mutant(
        44, "teachers/function.py", "spec.version, storage.sha256_file(source_of(spec)), ", "spec.version, ",
        f"{TESTS}44_the_key_holds_the_version_and_the_source",
    ),
    Mutant(44, "teachers/function.py", "spec.function, spec.version, storage", "spec.function, storage", f"{TESTS}44_the_key_holds_the_version_and_the_source"),
    Mutant(44, "functions.py", "_loaded[name] == (path, held)", "_loaded[name][0] == path", f"{TESTS}44_the_key_holds_the_version_and_the_source"),
    Mutant(
        44, "teachers/ensemble.py", "[member.identity(), round(float(weight), 12)]", "[member.identity()]",
        f"{TESTS}44_the_key_of_an_ensemble_holds_members_and_weights",
    ),
    Mutant(50, "teachers/function.py", "if len(examples) == 1:", "if examples:", f"{TESTS}50_a_row_that_a_function_minds_fails_alone"),
    Mutant(
        58, "teachers/onnx_file.py", "1 if told.by_batch else None", "None",
        f"{TESTS}58_rows_of_an_int8_graph_have_no_say_in_each_others_answers",
    ),
    Mutant(
        58, "teachers/graph.py", "doubtful[one.id] = rows[one.id]", "yield one.id, scores",
        f"{TESTS}58_what_int8_is_unsure_of_is_asked_again",
    ),
]  # fmt: skip

"""Wrong lines in what of a row leaves the house, each with the trap's test that must notice it."""

from __future__ import annotations

from tests.traps.mutants import Mutant

TESTS = "traps/test_traps_private.py::test_trap_"

MUTANTS = [
    Mutant(
        61, "teachers/endpoint/prompt.py", "self.pattern.sub(LEFT_OUT, value) for", "value for",
        f"{TESTS}61_an_instruction_in_a_row_names_no_label_and_ends_no_turn",
    ),
    Mutant(
        61, "teachers/endpoint/prompt.py", "return MARKS.sub(lambda found: HARMLESS[found[0]], value.encode", "return str(value.encode",
        f"{TESTS}61_an_instruction_in_a_row_names_no_label_and_ends_no_turn",
    ),
    Mutant(
        61, "steps/screen.py", '"dropped": {**data.card["dropped"], REASON: len(gone)},', "",
        f"{TESTS}61_rows_that_talk_to_the_model_are_named_and_those_left_out_are_counted",
    ),
    Mutant(
        61, "steps/screen.py", 'mode == "drop" and line["split"] in LEARNT', 'mode == "drop"',
        f"{TESTS}61_rows_that_talk_to_the_model_are_named_and_those_left_out_are_counted",
    ),
    Mutant(62, "teachers/endpoint/teacher.py", "Shot(self._shown(shot.fields), shot.label)", "Shot(shot.fields, shot.label)", f"{TESTS}62_nothing_personal_is_sent_shots_included"),
    Mutant(
        62, "teachers/endpoint/teacher.py", "fields = self._sent(example)\n        shots", "fields = texts(example.fields)\n        shots",
        f"{TESTS}62_nothing_personal_is_sent_shots_included",
    ),
    Mutant(
        62, "steps/ready.py", "data.head.named, *_shown(spec)))", "data.head.named))", f"{TESTS}62_other_rules_are_another_teacher_for_a_run_that_goes_on",
    ),
    Mutant(63, "students/build.py", '        student.spec["replace"] = [dict(rule) for rule in replace]\n', "        pass\n", f"{TESTS}63_what_is_trained_on_is_what_is_saved_and_read_again"),
    Mutant(
        63, "redact.py", 'text = WITH_DIGEST.sub(r"<\\1>", text)', "text = text", f"{TESTS}63_what_is_trained_on_is_what_is_saved_and_read_again",
    ),
]  # fmt: skip

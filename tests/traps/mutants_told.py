"""Wrong lines where a language model is judged by the top that a server told of each token."""

from __future__ import annotations

from .mutants import Mutant

TEST = "traps/test_traps_told.py::test_trap_"
JUDGED, TELLING, ASKED, KEPT = "evaluation/generation.py", "steps/telling.py", "teachers/endpoint/tokens.py", "labels/tokens/select.py"
UNLIKELY = f"{TEST}46_the_token_that_stands_there_is_kept_however_unlikely"
ITSELF = f"{TEST}25_a_model_beside_what_it_told_itself_is_no_way_off"
MUTANTS = [
    Mutant(17, JUDGED, "_log_softmax(logits[:, : told.vocabulary])", "_log_softmax(logits)", f"{TEST}17_rows_that_pad_the_student_s_vocabulary_tell_nothing"),
    Mutant(
        18, "steps/writing.py", 'compare(teaching, load("potstill.students.causal:turns")', 'print(teaching, load("potstill.students.causal:turns")',
        f"{TEST}18_a_student_with_two_ids_swapped_is_refused_before_anything_is_asked",
    ),
    Mutant(25, JUDGED, "(np.log(told.tail[rest]) - others)", "np.log(told.tail[rest])", ITSELF),
    Mutant(25, JUDGED, "np.where(named[rest], -np.inf, own[rest])", "own[rest]", ITSELF),
    Mutant(43, TELLING, "self.coder.decode([self.values[id]])", "self.coder.decode(list(self.values.values()))", f"{TEST}43_each_row_is_judged_by_what_was_told_of_it"),
    Mutant(45, TELLING, ".part(here)", ".part(slice(0, here.stop - here.start))", f"{TEST}45_a_part_of_a_row_is_judged_where_it_stands"),
    Mutant(46, ASKED, "dict.fromkeys((*likeliest, own))", "dict.fromkeys(likeliest)", UNLIKELY),
    Mutant(46, KEPT, " if keep.mass < 1 else len(value)", "", UNLIKELY),
]  # fmt: skip

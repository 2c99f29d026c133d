"""Mutants of what a language model is shown."""

from __future__ import annotations

from .mutants import Mutant

RENDERING, PACKING, TEST = "serving/rendering.py", "training/packing.py", "traps/test_traps_generation.py::test_trap_"
MUTANTS = [
    Mutant(20, PACKING, "np.where(learnt, told, IGNORED)", "np.where(learnt & (told != pad), told, IGNORED)", f"{TEST}20_the_end_is_learnt_where_padding_looks_like_it"),
    Mutant(
        20, RENDERING, "*self._ids(told.turns[1].content), self.end] if", "*self._ids(told.turns[1].content)] if", f"{TEST}20_the_end_is_learnt_where_padding_looks_like_it"
    ),
    Mutant(
        21, RENDERING, "kept = np.r_[0:keep, keep + cut : len(ids)][:max_length]", "kept = np.r_[0:max_length]",
        f"{TEST}21_a_long_prompt_does_not_eat_the_answer_nor_is_it_learnt",
    ),
    Mutant(
        21, RENDERING, "[False] * len(prompt) + [True] * len(answer)", "[True] * len(prompt) + [True] * len(answer)",
        f"{TEST}21_a_long_prompt_does_not_eat_the_answer_nor_is_it_learnt",
    ),
    Mutant(
        28, PACKING, "(numbers[:, :, None] == numbers[:, None, :]) & ", "", f"{TEST}28_rows_that_share_a_pack_do_not_see_each_other"
    ),
    Mutant(28, PACKING, "told, np.arange(len(told)), n", "told, np.arange(len(told)) + at * 2, n", f"{TEST}28_rows_that_share_a_pack_do_not_see_each_other"),
    Mutant(28, PACKING, "        labels[place, at] = IGNORED", "        pass  #", f"{TEST}28_rows_that_share_a_pack_do_not_see_each_other"),
]  # fmt: skip

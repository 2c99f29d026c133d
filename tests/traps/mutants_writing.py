"""Mutants of how a student that writes is cut, trained, judged and saved."""

from __future__ import annotations

from .mutants import Mutant

TESTS = "traps/test_traps_writing.py::test_trap_"
TOKENS, MEASURES, LORA, NARROW = "training/tokens.py", "training/measures.py", "students/lora.py", "students/narrow.py"


def mutant(trap: int, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(trap=trap, file=file, old=old, new=new, test=f"{TESTS}{trap:02d}_{test}")


PACKS = "a_step_of_packs_has_the_gradient_of_rows_apart"
MUTANTS = [
    mutant(28, TOKENS, "seen = made.mask == 0", "seen = made.mask <= 0", PACKS),
    mutant(28, TOKENS, ', "position_ids": made.positions}', "}", PACKS),
    mutant(28, TOKENS, "places = places[torch.argsort(made.rows.flatten()[places], stable=True)]", "places = places", PACKS),
    mutant(28, TOKENS, '(window["input_ids"], window["learnt"])', '(window["input_ids"], window["learnt"] * 0 + 1)', PACKS),
    mutant(29, MEASURES, "gather(1, tokens[:, None]).squeeze(1)", "gather(1, tokens[:, None]).squeeze(1) / len(own)", "a_text_is_judged_on_the_scale_that_it_is_learnt_on"),
    mutant(34, LORA, "copy.deepcopy(module).merge_and_unload()", "copy.deepcopy(module).unload()", "no_adapter_is_saved_and_none_is_lost"),
    mutant(42, NARROW, "small.num_key_value_heads = wanted.heads * groups_of(config) // config.num_attention_heads", "pass", "a_narrower_student_is_loaded_as_it_was"),
    mutant(43, TOKENS, "gather([int(row) for row in batch])", "gather(sorted(int(row) for row in batch))", "each_text_meets_its_own_answers"),
]  # fmt: skip

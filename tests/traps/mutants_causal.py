"""Mutants of asking a language model about each token, and of meeting its answers."""

from __future__ import annotations

from .mutants import Mutant

CAUSAL, TOKENS, COLUMNS, TEST = "teachers/causal.py", "teachers/tokens.py", "training/columns.py", "traps/test_traps_causal.py::test_trap_"
MUTANTS = [
    Mutant(
        17, CAUSAL, "whole, size = models.head_of(self._model), len(self._tokenizer)", "whole, size = models.head_of(self._model), 1 << 30",
        f"{TEST}17_rows_that_pad_the_teacher_s_table_say_nothing",
    ),
    Mutant(
        18, TOKENS, "wrong = sorted(id for id in (first.keys() | second.keys() if whole else second.keys()) if first.get(id) != second.get(id))",
        "wrong = sorted(first) if len(first) != len(second) else []", f"{TEST}18_a_tokenizer_with_two_ids_swapped_is_refused",
    ),
    Mutant(
        22, "objectives/tokens/models.py", 'softcap=getattr(config, "final_logit_softcapping", None)', "softcap=None",
        f"{TEST}22_a_cap_on_the_logits_is_part_of_what_the_teacher_says",
    ),
    Mutant(
        33, "teachers/loading.py", 'does it load in transformers {how}?")\n    return model.eval().requires_grad_(False)',
        'does it load in transformers {how}?")\n    return model.train()', f"{TEST}33_the_teacher_is_frozen",
    ),
    Mutant(
        38, TOKENS, '"template options": lambda turns: dict(turns.renderer.options),', '"template options": lambda turns: {},',
        f"{TEST}38_a_thinking_flag_that_differs_is_refused",
    ),
    Mutant(43, COLUMNS, "[self.values[int(i)].tobytes() for i in batch]", "[self.values[int(i)].tobytes() for i in sorted(batch)]", f"{TEST}43_a_batch_meets_its_own_answers_in_its_own_order"),
    Mutant(44, CAUSAL, 'self.precision, {**self.spec, "file": ""})', "self.precision)", f"{TEST}44_the_key_knows_what_an_answer_depends_on"),
    Mutant(44, CAUSAL, "folder_digest(self.folder), self.precision, ", "folder_digest(self.folder), ", f"{TEST}44_the_key_knows_what_an_answer_depends_on"),
    Mutant(44, "teachers/reading.py", 'for name in ("input_ids", "learnt", "window")]\n    return b"turns', 'for name in ("input_ids", "window")]\n    return b"turns', f"{TEST}44_what_is_learnt_of_a_row_is_part_of_what_is_asked"),
    Mutant(45, CAUSAL, "for number in sorted(parts)]", "for number in parts]", f"{TEST}45_states_of_a_text_in_windows_stand_where_its_tokens_do"),
    Mutant(45, COLUMNS, 'if told != (own := int(item["learnt"].sum())):', 'if told < 0 and (own := int(item["learnt"].sum())):', f"{TEST}45_answers_of_other_positions_are_refused"),
    Mutant(
        45, "teachers/endpoint/tokens.py", '["tokens"][: len(ids)]] != list(ids):', '["tokens"][: len(ids)]] == []:',
        f"{TEST}45_a_server_s_echo_is_read_where_the_tokens_stand",
    ),
    Mutant(
        45, "teachers/endpoint/tokens.py", 'np.flatnonzero(item["learnt"][item["window"] == number]).tolist()', 'np.flatnonzero(item["learnt"][item["window"] == number][1:]).tolist()',
        f"{TEST}45_a_server_s_echo_is_read_where_the_tokens_stand",
    ),
    Mutant(46, "teachers/endpoint/tokens.py", "-np.inf if value is None", "0.0 if value is None", f"{TEST}46_a_server_gives_fewer_and_nothing_for_some"),
    Mutant(47, "labels/tokens/coders.py", "logprobs - sparse.UNDER)", "logprobs + sparse.UNDER)", f"{TEST}47_what_a_server_gave_holds_no_more_than_1"),
]  # fmt: skip

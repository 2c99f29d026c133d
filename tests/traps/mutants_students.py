"""Wrong lines that the traps of students and of adapting must catch."""

from __future__ import annotations

from .mutants import Mutant

HERE = "traps/test_traps_students.py::"

MUTANTS = [
    Mutant(
        trap=34,
        file="students/transformer.py",
        old="self.module.save_pretrained(folder)",
        new='self.module.save_pretrained(folder, state_dict={**self.module.state_dict(), "projection.weight": torch.zeros(2, 2)})',
        test=HERE + "test_trap_34_nothing_of_the_teacher_or_the_projections_is_saved",
    ),
    Mutant(
        trap=34,
        file="students/ngram.py",
        old='save_file({"embeddings": embedding, **state, **',
        new='save_file({"embeddings": embedding, "projection.weight": embedding.clone(), **state, **',
        test=HERE + "test_trap_34_nothing_of_the_teacher_or_the_projections_is_saved",
    ),
    Mutant(
        trap=35,
        file="students/transformer.py",
        old="state[name] = state[name][order]",
        new="state[name] = state[name]",
        test=HERE + "test_trap_35_a_student_s_labels_are_its_source_s_by_name",
    ),
    Mutant(
        trap=35,
        file="students/transformer.py",
        old="own.id2label = dict(enumerate(head.labels))",
        new="own.id2label = config.id2label",
        test=HERE + "test_trap_35_an_adapted_teacher_s_labels_are_those_of_the_task_by_name",
    ),
    Mutant(
        trap=40,
        file="students/transformer.py",
        old='INPUTS = ("input_ids", "attention_mask", "token_type_ids")',
        new='INPUTS = ("input_ids", "attention_mask")',
        test=HERE + "test_trap_40_a_pair_s_inputs_are_the_model_s_own",
    ),
    Mutant(
        trap=40,
        file="serving/preprocess.py",
        old="np.array(encoding.type_ids, np.int64)",
        new="np.zeros(len(ids), np.int64)",
        test=HERE + "test_trap_40_a_pair_s_inputs_are_the_model_s_own",
    ),
    Mutant(
        trap=20,
        file="students/decoder.py",
        old="if token is not None and token not in (tokenizer.eos_token, tokenizer.bos_token)",
        new="if token is not None",
        test=HERE + "test_trap_20_the_end_of_a_text_is_never_taken_for_padding",
    ),
    Mutant(
        trap=20,
        file="students/decoder.py",
        old="    config.pad_token_id = made.pad_token_id\n",
        new="",
        test=HERE + "test_trap_20_the_end_of_a_text_is_never_taken_for_padding",
    ),
]

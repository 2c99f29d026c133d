"""Wrong lines in ``labels`` and ``teachers``, each with the trap's test that must notice it."""

from __future__ import annotations

from tests.traps.mutants import Mutant

TESTS = "traps/test_traps_labels.py::test_trap_"

MUTANTS = [
    Mutant(
        33,
        "teachers/loading.py",
        "return model.eval().requires_grad_(False), info, own",
        "return model.train().requires_grad_(False), info, own",
        f"{TESTS}33_teacher_in_train_mode",
    ),
    Mutant(
        33, "teachers/loading.py", "return model.eval().requires_grad_(False), info, own", "return model.eval(), info, own", f"{TESTS}33_teacher_in_train_mode"
    ),
    Mutant(35, "teachers/model.py", "(output.logits.float())[:, self._columns]", "(output.logits.float())", f"{TESTS}35_label_order_of_the_teacher"),
    Mutant(
        35,
        "teachers/build.py",
        "if set(names) != set(head.labels):",
        "if len(names) != len(head.labels):",
        f"{TESTS}35_disjoint_labels_are_refused",
    ),
    Mutant(35, "labels/answers.py", "[array[:, columns] for array in arrays]", "arrays", f"{TESTS}35_label_order_in_the_store"),
    Mutant(
        40,
        "teachers/model.py",
        "for name, tensor in made.items()}",
        'for name, tensor in made.items() if name != "token_type_ids"}',
        f"{TESTS}40_token_type_ids_of_a_pair",
    ),
    Mutant(43, "labels/ask.py", "said[key_by_id[id]] = ", "said[granted[len(said)]] = ", f"{TESTS}43_each_row_meets_its_own_answer"),
    Mutant(
        44,
        "teachers/model.py",
        "folder_digest(self.folder), self.max_length,",
        "folder_digest(self.folder),",
        f"{TESTS}44_the_key_holds_every_input",
    ),
    Mutant(44, "teachers/files.py", '"tokenizer*.json", ', "", f"{TESTS}44_the_key_holds_every_input"),
    Mutant(44, "teachers/model.py", "self.precision, self._names)", "self.precision, self.labels)", f"{TESTS}44_the_key_holds_nothing_else"),
    Mutant(44, "teachers/files.py", "[[path.name, storage", "[[str(path), storage", f"{TESTS}44_the_key_holds_nothing_else"),
    Mutant(44, "labels/store.py", "identity, storage.sha256_bytes(request)", 'identity, ""', f"{TESTS}44_ten_more_rows_are_ten_calls"),
    Mutant(
        48,
        "labels/store.py",
        "        if entries:\n            self.index.add(entries)",
        "        if entries:\n            pass",
        f"{TESTS}48_killed_at_a_write_point",
    ),
    Mutant(48, "labels/index.py", "[(key, want, batch) for key in granted for want in wants]", "[]", f"{TESTS}48_killed_at_a_write_point"),
    Mutant(49, "labels/index.py", "lost = sum(missing for _, missing in open_calls)", "lost = 0", f"{TESTS}49_the_teachers_own_count"),
    Mutant(
        49,
        "labels/ask.py",
        "claim, calls=len(granted) + self.teacher.repeated - repeated)",
        "claim, calls=sum(not isinstance(a, Failed) for a in said.values()))",
        f"{TESTS}49_failed_calls_are_counted_each_time",
    ),
    Mutant(
        50,
        "labels/ask.py",
        'said.update({key: Failed("no answer came") for key in granted if key not in said})',
        "",
        f"{TESTS}50_every_row_ends_answered_refused_or_failed",
    ),
    Mutant(
        51,
        "labels/ask.py",
        "order = list(dict.fromkeys(keys[example.id] for example in examples))",
        "order = [keys[example.id] for example in examples]",
        f"{TESTS}51_teacher_calls_equal_rows_used",
    ),
    Mutant(51, "teachers/recorded.py", "if role not in known:", "if False:", f"{TESTS}51_a_key_of_the_recording_that_means_nothing"),
]

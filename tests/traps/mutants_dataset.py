"""Wrong lines in the data stage and in the seal of the test rows."""

from __future__ import annotations

from tests.traps.mutants import Mutant

HERE = "traps/test_traps_dataset.py::"

MUTANTS = [
    Mutant(
        52,
        "dataset/leaks.py",
        "        rows = _same(rows, name, held, found)\n",
        "",
        HERE + "test_trap_52_copies_of_judging_rows_are_found_named_and_removed_from_training",
    ),
    Mutant(
        52,
        "dataset/leaks.py",
        "for split in HELD if split in kept",
        "for split in HELD[:2] if split in kept",
        HERE + "test_trap_52_copies_of_judging_rows_are_found_named_and_removed_from_training",
    ),
    Mutant(
        52, "dataset/leaks.py", "normalized(str(value))", "str(value)", HERE + "test_trap_52_copies_of_judging_rows_are_found_named_and_removed_from_training"
    ),
    Mutant(
        52,
        "dataset/leaks.py",
        "        rows = near.without(rows, name, held, found)\n",
        "",
        HERE + "test_trap_52_near_duplicates_of_judging_rows_are_found_named_and_removed",
    ),
    Mutant(
        52,
        "dataset/minhash.py",
        "max(fits, default=1)",
        "HASHES",
        HERE + "test_trap_52_near_duplicates_of_judging_rows_are_found_named_and_removed",
    ),
    Mutant(
        52,
        "dataset/leaks.py",
        '("validation", "calibration", *LEARNT)',
        '("calibration", *LEARNT)',
        HERE + "test_trap_52_what_chooses_holds_no_copy_of_a_test_row",
    ),
    Mutant(
        52,
        "dataset/leaks.py",
        "        rows = _grouped(rows, name, held, found)\n",
        "",
        HERE + "test_trap_52_a_group_never_straddles_what_is_learnt_from_and_what_judges",
    ),
    Mutant(
        52,
        "dataset/split.py",
        "example.group or example.id",
        "example.id",
        HERE + "test_trap_52_a_group_never_straddles_what_is_learnt_from_and_what_judges[cut]",
    ),
    Mutant(
        53,
        "dataset/prepare.py",
        'lambda: _load(folder / "test.jsonl"))',
        '(lambda rows: lambda: rows)(_load(folder / "test.jsonl")))',
        HERE + "test_trap_53_the_test_rows_are_not_read_before_they_are_opened",
    ),
    Mutant(
        53,
        "records.py",
        "registration.test_hash != self.digest or not",
        "not",
        HERE + "test_trap_53_the_test_rows_open_for_a_registration_of_theirs_on_disk_alone",
    ),
    Mutant(
        53,
        "records.py",
        "registration.test_hash != self.digest or not registration.path.is_file()",
        "registration.test_hash != self.digest",
        HERE + "test_trap_53_the_test_rows_open_for_a_registration_of_theirs_on_disk_alone",
    ),
    Mutant(
        53,
        "dataset/prepare.py",
        'return Example.make(row["fields"], gold=',
        'return Example(row["id"], row["fields"], gold=',
        HERE + "test_trap_53_other_test_rows_than_those_registered_do_not_open",
    ),
    Mutant(
        52,
        "dataset/augment/make.py",
        "    near = {leak.removed: leak.kept_in for leak in leaks}\n",
        "    near: dict[str, str] = {}\n",
        HERE + "test_trap_52_rows_made_by_augmentation_stay_away_from_those_that_judge",
    ),
    Mutant(
        52,
        "dataset/leaks.py",
        '_Near(text, threshold).without(_same(rows, "augmented", judging, found), "augmented", judging, found), found',
        '_Near(text, threshold).without(list(rows), "augmented", judging, found), found',
        HERE + "test_trap_52_rows_made_by_augmentation_stay_away_from_those_that_judge",
    ),
    Mutant(
        52,
        "dataset/leaks.py",
        '_Near(text, threshold).without(_same(rows, "augmented", judging, found), "augmented", judging, found), found',
        '_same(rows, "augmented", judging, found), found',
        HERE + "test_trap_52_rows_made_by_augmentation_stay_away_from_those_that_judge",
    ),
]

"""What the tests of the training loop must catch."""

from __future__ import annotations

from .mutants import Mutant

TESTS = "traps/test_traps_training.py::test_trap_"
LOOP, LEARNER = "training/loop.py", "training/learner.py"
CALL = "means = self.wrapped(part.to(device)) * scale"


def mutant(trap: int, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(trap=trap, file=file, old=old, new=new, test=f"{TESTS}{trap:02d}_{test}")


MUTANTS = [
    mutant(9, LOOP, "share / counts.clamp(min=1)", "share / counts", "a_step_without_gold_leaves_the_student_whole"),
    mutant(
        13, LOOP, CALL, "means = self.wrapped(part.to(device)) / self.learner.counts(part).clamp(min=1) / len(parts)",
        "micro_batches_change_no_gradient",
    ),
    mutant(29, LOOP, '"sum").cpu() / self._since()', '"sum").cpu()', "validation_and_training_loss_have_one_scale"),
    mutant(29, LOOP, "loss = float(means @ self.weights)", "loss = float(means.sum())", "validation_and_training_loss_have_one_scale"),
    mutant(
        34, LEARNER, "self.beside = nn.ModuleList(", "self.beside = student.module.beside = nn.ModuleList(",
        "projections_stay_out_of_the_student",
    ),
    mutant(37, LOOP, CALL, "means = self.learner(part.to(device)) * scale", "two_processes_give_the_gradients_of_one"),
    mutant(37, LOOP, ".sum() * ranks)", ".sum())", "two_processes_give_the_gradients_of_one"),
    mutant(
        39, LOOP, "        self.learner.train()\n        means", "        means",
        "every_training_batch_is_in_train_mode_and_no_validation_batch",
    ),
    mutant(
        39, LOOP, "        self.student.module.eval()\n        with", "        with",
        "every_training_batch_is_in_train_mode_and_no_validation_batch",
    ),
    mutant(
        43, LEARNER, "np.concatenate([rows.teacher[want][i] for i in batch])", "np.concatenate([rows.teacher[want][i] for i in sorted(batch)])",
        "each_row_meets_its_own_answers",
    ),
]  # fmt: skip

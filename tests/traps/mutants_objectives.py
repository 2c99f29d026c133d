"""What the tests of the loss must catch."""

from __future__ import annotations

from .mutants import Mutant

TESTS = "traps/test_traps_objectives.py::test_trap_"
KL, HARD, HIDDEN, BUILD, ATTENTION = (f"objectives/{name}.py" for name in ("divergences", "hard", "hidden", "build", "attention"))
OWN = "own = (widened(student) / kd_temperature).log_softmax(dim=-1)"


def mutant(trap: int, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(trap=trap, file=file, old=old, new=new, test=f"{TESTS}{trap:02d}_{test}")


MUTANTS = [
    mutant(
        1, KL, "return scores if scores.dtype == torch.float64 else scores.float()", "return scores",
        "low_precision_logits_keep_the_divergence_true",
    ),
    mutant(1, KL, "share * (close + torch.expm1(-close))", "share * close", "rounding_in_the_normalizers_does_not_show"),
    mutant(2, KL, "return kd_temperature**2 * parts.sum()", "return parts.sum()", "the_gradient_keeps_its_size_when_the_temperature_changes"),
    mutant(
        2, BUILD, 'kl(student, teacher, kd_temperature=temperature),', "kl(student, teacher),",
        "the_gradient_keeps_its_size_when_the_temperature_changes",
    ),
    mutant(4, KL, "target = (widened(teacher) / kd_temperature)", "target = widened(teacher)", "the_teacher_is_softened_too"),
    mutant(5, KL, "def kl(student: Tensor, teacher: Tensor,", "def kl(teacher: Tensor, student: Tensor,", "kl_is_the_forward_one"),
    mutant(5, BUILD, "(output.logits, answers[want])", "(answers[want], output.logits)", "kl_is_the_forward_one"),
    mutant(8, HARD, "labels = widened(student).reshape(-1, student.shape[-1]), gold.reshape(-1)",
           "labels = widened(student).reshape(-1, student.shape[-1]), gold.reshape(-1).abs()",
           "units_without_gold_stay_out_of_the_loss"),
    mutant(8, HARD, "(gold != IGNORED)", "(gold > -2)", "units_without_gold_stay_out_of_the_loss"),
    mutant(9, HARD, 'reduction="sum"', 'reduction="mean"', "a_batch_without_gold_is_nothing_with_a_gradient"),
    mutant(11, KL, "parts.sum()", "parts.mean()", "the_loss_does_not_grow_with_rows"),
    mutant(11, HARD, 'reduction="sum"', 'reduction="mean"', "the_loss_does_not_grow_with_rows"),
    mutant(11, KL, "kd_temperature**2 * parts.sum()", "parts.mean(dim=-1).sum()", "classes_of_no_probability_change_nothing"),
    mutant(12, HIDDEN, ".square().mean(dim=-1).sum()", ".square().mean()", "tokens_are_counted_once"),
    mutant(17, KL, "return scores - scores.mean(dim=-1, keepdim=True)", "return scores", "a_constant_on_all_logits_changes_nothing"),
    mutant(25, KL, "gap = target - own", "gap = -own", "kl_of_a_distribution_with_itself_is_zero"),
    mutant(26, KL, "parts.sum(), units(student)", "parts.mean(), units(student)", "loss_and_gradient_are_the_oracle_s"),
    mutant(26, KL, OWN, OWN.replace(".log_softmax", ".softmax(dim=-1).log_softmax"), "loss_and_gradient_are_the_oracle_s"),
    mutant(30, KL, OWN, OWN.replace("dim=-1", "dim=1"), "all_axes_but_the_last_are_units"),
    mutant(30, KL, "units(scores: Tensor) -> Tensor:", "units(scores: Tensor) -> Tensor:\n    return torch.tensor(float(scores.shape[0]))",
           "all_axes_but_the_last_are_units"),
    mutant(30, HARD, "ignore_index=IGNORED", "ignore_index=0", "padding_without_gold_changes_nothing"),
    mutant(1, ATTENTION, "with torch.autocast(student.device.type, enabled=False):  # it", "if True:  # it",
           "relations_are_computed_in_float32_under_autocast"),
    mutant(8, ATTENTION, ".add_(padding)", "", "what_stands_in_padding_changes_nothing"),
    mutant(8, ATTENTION, ".square() * keep).sum(dim=-1)", ".square()).sum(dim=-1)", "what_stands_in_padding_changes_nothing"),
    mutant(9, ATTENTION, "HIDDEN = -1e30", 'HIDDEN = -float("inf")', "a_batch_of_no_tokens_is_nothing_with_a_gradient"),
    mutant(11, ATTENTION, "torch.stack(kinds).sum() / heads", "torch.stack(kinds).sum() / heads / len(student.mask)",
           "relations_do_not_grow_with_rows_or_padding"),
    mutant(13, ATTENTION, "apart.mean(dim=1) * student.mask).sum()", "apart.mean(dim=1) * student.mask).mean()",
           "relations_of_rows_together_are_those_of_each_alone"),
    mutant(30, ATTENTION, ".add_(padding).log_softmax(dim=-1)", ".add_(padding).log_softmax(dim=-3)",
           "relations_are_softmaxed_over_what_is_related_to"),
    mutant(31, KL, "own = (widened(student) / kd_temperature)", "own = widened(student / kd_temperature)", "extreme_logits_stay_finite"),
]  # fmt: skip

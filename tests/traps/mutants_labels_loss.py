"""What the tests of the loss of any number of labels must catch."""

from __future__ import annotations

from .mutants import Mutant

TESTS = "traps/test_traps_labels_loss.py::test_trap_"
LOSS, BUILD = "objectives/labels.py", "objectives/build.py"
KL = "return divergences.kl(_two(student), _two(teacher), kd_temperature=kd_temperature)[0], units(student)"


def mutant(trap: int, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(trap=trap, file=file, old=old, new=new, test=f"{TESTS}{trap:02d}_{test}")


MUTANTS = [
    mutant(1, LOSS, "wide = widened(logodds)", "wide = logodds.bfloat16()", "a_term_computes_in_float32_under_autocast"),
    mutant(2, LOSS, "kd_temperature=kd_temperature)[0]", "kd_temperature=kd_temperature)[0] / kd_temperature**2",
           "the_gradient_keeps_its_size_when_the_temperature_changes"),
    mutant(4, LOSS, KL, KL.replace("_two(teacher)", "kd_temperature * _two(teacher)"), "the_teacher_is_softened_too"),
    mutant(5, LOSS, KL, KL.replace("_two(student), _two(teacher)", "_two(teacher), _two(student)"), "kl_is_the_forward_one"),
    mutant(8, LOSS, "losses.masked_fill(~known, 0.0).sum()", "losses.sum()", "units_without_gold_stay_out_of_the_loss"),
    mutant(8, LOSS, "(gold >= 0).all(dim=-1)", "(gold >= -1).all(dim=-1)", "units_without_gold_stay_out_of_the_loss"),
    mutant(9, LOSS, "losses.masked_fill(~known, 0.0).sum()", "losses[known].mean()", "a_batch_without_gold_is_nothing_with_a_gradient"),
    mutant(11, LOSS, "losses.masked_fill(~known, 0.0).sum()", "losses.masked_fill(~known, 0.0).mean()", "the_loss_does_not_grow_with_rows"),
    mutant(11, LOSS, "losses.masked_fill(~known, 0.0).sum()", "losses.masked_fill(~known, 0.0).mean(dim=-1).sum()",
           "labels_that_never_apply_change_nothing"),
    mutant(11, LOSS, KL, KL.replace("[0], units(student)", ""), "labels_that_never_apply_change_nothing"),
    mutant(13, LOSS, "losses.masked_fill(~known, 0.0).sum()", "losses.masked_fill(~known, 0.0).sum() / len(gold)", "micro_batches_change_nothing"),
    mutant(25, LOSS, KL, "return -(_two(teacher).softmax(-1) * _two(student).log_softmax(-1)).sum(), units(student)",
           "kl_of_an_answer_with_itself_is_zero"),
    mutant(26, LOSS, "torch.stack([wide, torch.zeros_like(wide)], dim=-1)", "torch.stack([wide, -wide], dim=-1)",
           "loss_and_gradient_are_the_oracle_s"),
    mutant(31, LOSS, "wide = widened(logodds)", "wide = widened(logodds).sigmoid().logit()", "extreme_log_odds_stay_finite"),
    mutant(31, LOSS, "wide = widened(logodds)", "wide = logodds.sigmoid().log() - torch.log1p(-logodds.sigmoid())",
           "what_is_all_but_certain_keeps_its_digits"),
]  # fmt: skip

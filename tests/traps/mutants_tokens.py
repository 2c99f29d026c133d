"""What the tests of the token loss must catch."""

from __future__ import annotations

from .mutants import Mutant

TESTS = "traps/test_traps_tokens.py::test_trap_"
DIVERGENCES, FUSED, HEADS, LOSS, POSITIONS, TILES = (
    f"objectives/tokens/{name}.py" for name in ("divergences", "fused", "heads", "loss", "positions", "tiles")
)  # fmt: skip
FINAL = "    return rows.mul_(temperature**2).clamp_(min=0)  # what"  # of dense; sparse ends alike, without the comment


def mutant(trap: int, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(trap=trap, file=file, old=old, new=new, test=f"{TESTS}{trap:02d}_{test}")


MUTANTS = [
    mutant(
        1, FUSED, "torch.float64 if hidden.dtype == torch.float64 else torch.float32", "hidden.dtype", "in_halves_a_divergence_is_not_negative_and_true"
    ),
    mutant(1, DIVERGENCES, "return value.add_(own.sum(dim=-1))", "return value", "rounding_in_the_normalizers_does_not_show"),
    mutant(1, DIVERGENCES, "return value.add_(zero)", "return value", "rounding_in_the_normalizers_does_not_show"),
    mutant(
        1, DIVERGENCES, ".add_(teacher.neg_().add_(own).sum(dim=-1), alpha=1 - share)", "", "rounding_in_the_normalizers_does_not_show",
    ),
    mutant(2, TILES, FINAL, FINAL.replace(".mul_(temperature**2)", ""), "the_gradient_keeps_its_size_when_the_temperature_changes"),
    mutant(
        2, TILES, "    own.mul_(temperature)  # T²", "    # T²", "the_gradient_keeps_its_size_when_the_temperature_changes",
    ),
    mutant(2, TILES, "coarse.mul_(temperature)", "coarse", "the_gradient_keeps_its_size_when_the_temperature_changes"),
    mutant(4, TILES, "        told.div_(temperature)\n", "", "the_teacher_is_softened_too"),
    mutant(4, TILES, "(torch.cat([told.logprobs.to(own.dtype), tail], dim=-1), LOWEST, temperature)",
           "(torch.cat([told.logprobs.to(own.dtype), tail], dim=-1), LOWEST, 1.0)", "the_teacher_is_softened_too"),
    mutant(5, DIVERGENCES, 'Divergence("forward_kl", _forward)', 'Divergence("forward_kl", _reverse)', "directions_and_the_ends_of_beta"),
    mutant(5, DIVERGENCES, "reverse_kl() if beta else forward_kl()", "forward_kl() if beta else reverse_kl()", "directions_and_the_ends_of_beta"),
    mutant(5, DIVERGENCES, "partial(_jsd, beta=beta, scale", "partial(_jsd, beta=1 - beta, scale", "directions_and_the_ends_of_beta"),
    mutant(5, DIVERGENCES, "partial(_skew_reverse, share=1 - alpha)", "partial(_skew_reverse, share=alpha)", "directions_and_the_ends_of_beta"),
    mutant(6, DIVERGENCES, "1 / (beta * (1 - beta)) if normalized", "1 / (1 - beta) if normalized", "normalized_the_divergence_has_no_step_at_beta_0"),
    mutant(7, POSITIONS, "moved[..., :-1] = labels[..., 1:]", "moved[...] = labels", "a_label_is_learnt_from_the_state_before_it"),
    mutant(7, POSITIONS, "moved[..., :-1] = labels[..., 1:]", "moved[..., 1:] = labels[..., :-1]", "a_label_is_learnt_from_the_state_before_it"),
    mutant(8, LOSS, "_index(target, shape.numel(), len(rows), index)", "None", "masked_positions_stay_out_of_the_soft_loss"),
    mutant(8, LOSS, "rows = positions.taken(hidden.reshape(-1, head.width), index)",
           "index = None; rows = hidden.reshape(-1, head.width)", "masked_positions_stay_out_of_the_soft_loss"),
    mutant(9, LOSS, "self.count.clamp(min=1)", "self.count", "a_batch_without_supervision_is_nothing_with_a_gradient"),
    mutant(10, POSITIONS, "return None if len(index) == mask.numel() else index", "return None", "masked_positions_are_not_paid_for"),
    mutant(11, LOSS, "torch.tensor(float(len(rows)), device", "torch.tensor(float(shape.numel()), device",
           "the_mean_does_not_know_of_length_padding_or_vocabulary"),
    mutant(11, TILES, FINAL, FINAL.replace("return rows", "return rows.div_(own.shape[1])"),
           "the_mean_does_not_know_of_length_padding_or_vocabulary"),
    mutant(12, FUSED, "return (soft, hard), gradients.done()", "return (soft / max(1, size), hard), gradients.done()", "tokens_are_counted_once"),
    mutant(13, LOSS, "torch.tensor(float(len(rows)), device", "torch.tensor(1.0, device", "micro_batches_give_the_gradient_of_the_whole"),
    mutant(13, LOSS, "return TokenLoss(total, soft", "return TokenLoss(total / max(1, len(rows)), soft", "micro_batches_give_the_gradient_of_the_whole"),
    mutant(15, TILES, "    tail = left_out.log()[:, None]", "    tail = (0 * left_out).log()[:, None]",  # top-k renormalised
           "top_k_has_no_gradient_at_student_equal_teacher"),
    mutant(15, TILES, "coarse = _soften(torch.cat([kept, top + rest.log()], dim=-1)", "coarse = _soften(torch.cat([kept, kept[:, :1] - 1e6], dim=-1)",
           "top_k_has_no_gradient_at_student_equal_teacher"),  # the student's tail ignored
    mutant(16, TILES, "own.mul_(torch.where(rest > 0, coarse[:, -1:] / rest, 0.0))", "own.mul_(0.0)", "a_student_below_the_teacher_on_the_top_k_learns"),
    mutant(15, TILES, "pull = (weights * (above - gap)).sum(dim=-1), weights * above", "pull = (weights * (above - gap)).sum(dim=-1), -weights",
           "sampled_tokens_have_no_gradient_at_student_equal_teacher"),
    mutant(16, TILES, "coarse[:, :-1].masked_fill_(~real, 0.0)", "coarse[:, :-1].masked_fill_(~real, 0.0).clamp(min=0)",
           "a_student_below_the_teacher_on_the_top_k_learns"),
    mutant(17, TILES, "    own, told = own[:, :shared], told[:, :shared]\n",
           "    told = torch.nn.functional.pad(told, (0, max(0, own.shape[1] - told.shape[1])))[:, : own.shape[1]]\n",  # padded with logit 0
           "padded_vocabularies_and_a_constant_on_all_logits"),
    mutant(22, HEADS, "        out.add_(head.bias.to(hidden.dtype) *", "        (head.bias.to(hidden.dtype) *", "the_fused_head_leaves_nothing_out"),
    mutant(22, HEADS, "scaled = hidden * torch.as_tensor(head.scale, dtype=hidden.dtype, device=hidden.device)", "scaled = hidden",
           "the_fused_head_leaves_nothing_out"),
    mutant(22, HEADS, "return scores if head.softcap is None else", "return scores if True else", "the_fused_head_leaves_nothing_out"),
    mutant(22, FUSED, "            tile.mul_(slope)", "            pass", "the_fused_head_leaves_nothing_out"),
    mutant(22, HEADS, "    if head.adapter is not None:\n        low", "    if False:\n        low", "the_fused_head_leaves_nothing_out"),
    mutant(22, FUSED, "return back if back is None else back.addmm_(through, down)", "return back", "the_fused_head_leaves_nothing_out"),
    mutant(22, FUSED, "return heads.cap(target.head, heads.scores(target.head, chosen(target.states).to(out.dtype), out))",
           "return heads.scores(target.head, chosen(target.states).to(out.dtype), out)", "the_fused_head_leaves_nothing_out"),
    mutant(23, FUSED, "step = max(1, min(size, CHUNK_ROWS.get(device.type, size), plan.chunk_bytes //", "step = max(1, size, min(size, CHUNK_ROWS.get(device.type, size), plan.chunk_bytes //",
           "a_batch_of_any_rank_is_cut_into_chunks"),
    mutant(24, FUSED, "for start in range(0, size, step):", "for start in range(0, size - step + 1, step):", "a_ragged_last_chunk_counts"),
    mutant(25, DIVERGENCES, "value = vecdot(share, told.sub_(own))", "value = -vecdot(share, own)", "a_distribution_is_at_no_distance_from_itself"),
    mutant(25, TILES, "(weights * (above - gap)).sum(dim=-1)", "-(weights * found).sum(dim=-1)", "samples_with_their_logprobs_tell_a_divergence_too"),
    mutant(26, TILES, FINAL, FINAL.replace("return rows", "return rows.div_(own.shape[1])"), "value_and_gradient_are_the_float64_oracles"),
    mutant(26, TILES, "_log_softmax(told).clamp_(min=FLOOR)", "_log_softmax(told.exp_()).clamp_(min=FLOOR)", "value_and_gradient_are_the_float64_oracles"),
    mutant(27, TILES, FINAL, FINAL.replace(".clamp_(min=0)", ".clamp_(min=0, max=0.5)"), "more_apart_is_never_less_loss"),
    mutant(29, FUSED, "total = plan.soft_weight * sums[0]", "total = (plan.soft_weight if plan.learns else 1000.0) * sums[0]",
           "evaluation_and_training_are_on_one_scale"),
    mutant(30, TILES, "return torch.log_softmax(logits, dim=-1, out=logits)", "return torch.log_softmax(logits, dim=0, out=logits)",
           "positions_are_not_a_distribution"),
    mutant(31, TILES, "_log_softmax(told).clamp_(min=FLOOR)", "_log_softmax(told).exp_().log_()", "large_logits_stay_finite"),
    mutant(31, DIVERGENCES, "gap = told.sub_(own).clamp_(-FAR, FAR)", "gap = told.sub_(own)", "large_logits_stay_finite"),
    mutant(31, FUSED, "torch.float64 if hidden.dtype == torch.float64 else torch.float32", "hidden.dtype", "large_logits_stay_finite"),
]  # fmt: skip

"""The loss of a language model's tokens, from hidden states to gradients, without its logits ever standing in memory as a whole.

``loss.token_loss`` is the door. What comes in: the student's states and its head (``heads``: weight, bias, adapter, scale, soft-capping);
what the teacher said, in one of four shapes (``targets``: ``Full``, ``Hidden``, ``Sparse``, ``Sampled``); which divergence
(``divergences``: one family of formulas, each with its gradient by hand); hard labels from the same pass. ``tiles`` meets a target with
a divergence on a few rows of logits; ``fused`` goes through the rows in chunks and writes gradients where the logits were. ``positions``
says which rows are learnt from at all, and moves labels to the states that foretell them.

Which divergence can be had from which target:

| | Full | Hidden | Sparse | Sampled |
|---|---|---|---|---|
| forward_kl | yes | yes | over top-k and tail | unbiased |
| reverse_kl, jsd, skew_kl, skew_reverse_kl, total_variation | yes | yes | over top-k and tail | refused |

Conventions. p is the teacher, q the student, both softened by ``kd_temperature``; values and gradients are times T² (Hinton et al. 2015,
arXiv:1503.02531, section 2). Sums over supervised positions and their count are what is given, never a mean over a batch: over
micro-batches, sums are added and divided once. A vocabulary that is padded on one side is compared over the ids that both have.
"""

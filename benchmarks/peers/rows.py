"""Which check belongs to which row of TRAPS.md and to which part of a tool; what is left out, and why; and a tool's verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import Tool, checks


@dataclass(frozen=True)
class Check:
    """``row`` of TRAPS.md, what of it is looked at, the part that it needs, and the check."""

    row: int
    trap: str
    part: str
    run: Callable[[checks.Part, bool], checks.Seen]


CHECKS = (
    Check(1, "a log-softmax of logits in bf16", "soft", checks.low_precision),
    Check(2, "T² missing, or on one path only", "soft", checks.temperature_squared),
    Check(2, "T² missing in a loss on logits", "scores", checks.temperature_squared),
    Check(4, "the teacher is not softened", "soft", checks.teacher_softened),
    Check(5, "KL in the wrong direction", "soft", checks.direction),
    Check(8, "masked positions enter the soft loss", "masked", checks.masked_positions),
    Check(8, "padding enters the loss on hidden states", "hidden", checks.padded_states),
    Check(8, "padding enters the loss on attention", "attention", checks.padded_attention),
    Check(9, "the loss is NaN where no position is taught", "masked", checks.nothing_taught),
    Check(9, "the loss is NaN where no row has gold", "gold", checks.no_gold),
    Check(11, "the loss grows with rows or empty classes", "soft", checks.rows_counted_out),
    Check(11, "a loss on logits grows with rows", "scores", checks.rows_counted_out_of_scores),
    Check(11, "the loss grows with length or empty classes", "positions", checks.lengths_counted_out),
    Check(12, "tokens are counted twice", "hidden", checks.tokens_counted_once),
    Check(13, "micro-batches of unequal lengths change the gradient", "train", checks.micro_batches),
    Check(13, "a smaller last micro-batch changes the gradient", "train", checks.last_part),
    Check(13, "rows of an epoch's incomplete last step are lost", "train", checks.last_step),
    Check(17, "a constant on all logits changes the loss", "soft", checks.constant),
    Check(17, "a constant on all logits changes the loss on logits", "scores", checks.constant),
    Check(25, "a \"KL\" that is a cross-entropy", "soft", checks.at_itself),
    Check(26, "the mean is taken over classes too", "soft", checks.oracle),
    Check(29, "training and validation loss differ in scale", "reported", checks.one_scale),
    Check(30, "a softmax over the length", "positions", checks.axis),
    Check(31, "half precision overflows", "soft", checks.overflow),
    Check(31, "half precision overflows in a loss on logits", "scores", checks.overflow),
    Check(32, "the mean of teachers' logits", "ensemble", checks.several_teachers),
    Check(33, "the teacher has dropout on, or is trained", "teacher", checks.teacher_mode),
    Check(34, "projections or the teacher are saved with the student", "saved", checks.saved_alone),
    Check(35, "labels are matched by position", "labels", checks.label_order),
    Check(39, "the student stays in eval mode after a validation", "train", checks.train_mode),
    Check(43, "rows meet other rows' answers", "joined", checks.own_answers),
    Check(51, "a misspelt option is ignored, or drops the teacher's term", "keys", checks.misspelt),
)  # fmt: skip

LEFT_OUT = {
    "3, 6, 7, 14-16, 18-24, 27, 28, 38, 45-47": "text generation (sampling, top-k answers, tokenizers, packing, fused heads): none of the three has it",
    "10": "what masked rows cost: a matter of time, not of one small check",
    "36, 41, 52-56, 59, 60": "none of the three judges a teacher, looks for leaks, trains a control of equal steps, gives an interval or times what ships",
    "37": "several processes: not run here",
    "40": "the three leave a model's inputs to their user",
    "42": "pruning: none of the three prunes",
    "44, 48-50": "a store of answers that outlives the process: none of the three has one",
    "57, 58": "export: sentence-transformers has it through optimum, which is not installed here",
}


def judged(check: Check, tool: Tool) -> dict[str, Any]:
    """Return what ``check`` says of ``tool``: a verdict in words, and the figures at each setting.

    The first setting is the documented one, and its verdict is the tool's; where another differs, the verdict says so.
    """
    settings = tool.parts.get(check.part)
    if not settings:
        return {"verdict": "no such part", "evidence": []}
    found = {name: check.run(part, name in tool.cross_entropies) for name, part in settings.items()}
    first = next(iter(found.values()))[0]
    others = [name for name, (avoids, _) in found.items() if avoids is not None and avoids is not first]
    words = {True: "avoids", False: "falls in", None: "can't be told"}
    verdict = words[first]
    if others and first is not None:
        verdict = f"avoids with {' or '.join(others)}" if not first else f"avoids; falls in with {' or '.join(others)}"
    return {"verdict": verdict, "evidence": [{"setting": name, "avoids": avoids, "seen": seen} for name, (avoids, seen) in found.items()]}

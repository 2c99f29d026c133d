"""One small check for each row of TRAPS.md that any of the tools could fall into: figures of one part, and whether they are as they should be.

Every check is given a part of a tool at one setting and says (whether the trap is avoided, the figure that was seen); None in place of a
verdict where it can't be told. The oracles are float64.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import toys

Part = Callable[..., Any]
Seen = tuple[bool | None, str]


def _normal(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


STUDENT, TEACHER = _normal(6, 5, seed=1, scale=2.0), _normal(6, 5, seed=2, scale=2.0)
MASK = torch.arange(4)[None] < torch.tensor([2, 4, 3])[:, None]  # rows of 2, 4 and 3 tokens


def _gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(loss(at), at)
    return found


def _soft(part: Part, teacher: Tensor, temperature: float, student: Tensor) -> Tensor:
    found: Tensor = part(student, teacher, temperature)
    return found


def _value(loss: Tensor) -> float:
    return float(loss.detach())


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q), a mean over rows, of logits."""
    p, q = p.log_softmax(-1), q.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).mean()


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.double().flatten(), other.double().flatten(), dim=0))


def _apart(found: Tensor, truth: Tensor) -> float:
    """Return how far ``found`` is from ``truth``, as a share of it."""
    return float((found.double() - truth.double()).norm() / truth.double().norm())


def _close(one: float, other: float, share: float = 1e-4) -> bool:
    return math.isclose(one, other, rel_tol=share, abs_tol=1e-7)


# --------------------------------------------------------------------------------------------------- losses on classes
def low_precision(part: Part, _: bool) -> Seen:
    student = (3 * _normal(4, 49_152, seed=0)).bfloat16()
    teacher = (student.float() + 0.01 * _normal(4, 49_152, seed=1)).bfloat16()
    truth = _gradient(lambda at: _kl(teacher.double(), at), student.double())
    off = _apart(_gradient(lambda at: part(at, teacher, 1.0), student), truth)
    other = (3 * _normal(4, 49_152, seed=2)).bfloat16()
    truth = _gradient(lambda at: _kl(other.double(), at), student.double())
    far = _apart(_gradient(lambda at: part(at, other, 1.0), student), truth)
    return (
        off < 0.03,
        f"logits in bf16, 49,152 classes: the gradient is off by {off:.2g} times itself where they are near equal, by {far:.2g} where they are not",
    )


def temperature_squared(part: Part, _: bool) -> Seen:
    norms = [_gradient(partial(_soft, part, TEACHER, t), STUDENT).norm().item() for t in (1.0, 2.0, 4.0)]
    return max(norms) / min(norms) < 2, "gradient at T = 2 and 4 over that at T = 1: " + ", ".join(f"{norm / norms[0]:.3f}" for norm in norms[1:])


def teacher_softened(part: Part, _: bool) -> Seen:
    truth = _gradient(lambda at: _kl(TEACHER.double() / 2, at / 2), STUDENT.double())
    cosine = _cosine(_gradient(lambda at: part(at, TEACHER, 2.0), STUDENT), truth)
    return cosine > 0.9999, f"cosine of the gradient at T = 2 with that of both sides softened: {cosine:.4f}"


def direction(part: Part, _: bool) -> Seen:
    found = _gradient(lambda at: part(at, TEACHER, 1.0), STUDENT)
    ways = [_gradient(loss, STUDENT.double()) for loss in (lambda at: _kl(TEACHER.double(), at), lambda at: _kl(at, TEACHER.double()))]
    forward, reverse = (_cosine(found, way) for way in ways)
    return forward > 0.9999 > reverse, f"cosine of the gradient with the forward KL's {forward:.4f}, the reverse's {reverse:.4f}"


def at_itself(part: Part, cross_entropy: bool) -> Seen:
    value = _value(part(TEACHER, TEACHER, 1.0))
    slope = _gradient(lambda at: part(at, TEACHER, 1.0), TEACHER).norm().item()
    words = f"at student = teacher the loss is {value:.3g}, its gradient {slope:.1g}"
    return slope < 1e-5 and (cross_entropy or abs(value) < 1e-5), words + ("; it calls itself a cross-entropy" if cross_entropy else "")


def oracle(part: Part, _: bool) -> Seen:
    truth = (STUDENT.double().softmax(-1) - TEACHER.double().softmax(-1)) / len(STUDENT)
    off = _apart(_gradient(lambda at: part(at, TEACHER, 1.0), STUDENT), truth)
    return off < 1e-4, f"gradient at T = 1 off the float64 oracle's by {off:.1g} of itself"


def rows_counted_out(part: Part, _: bool) -> Seen:
    pad = torch.full((6, 5), -1e4)
    one, three = (_value(part(STUDENT.repeat(n, 1), TEACHER.repeat(n, 1), 1.0)) for n in (1, 3))
    wide = _value(part(torch.cat([STUDENT, pad], -1), torch.cat([TEACHER, pad], -1), 1.0))
    return _close(one, three) and _close(
        one, wide
    ), f"three times the rows: {three / one:.3g} times the loss; twice the classes, the new ones empty: {wide / one:.3g}"


def rows_counted_out_of_scores(part: Part, _: bool) -> Seen:
    one, three = (_value(part(STUDENT.repeat(n, 1), TEACHER.repeat(n, 1), 1.0)) for n in (1, 3))
    return _close(one, three), f"three times the rows: {three / one:.3g} times the loss"


def constant(part: Part, _: bool) -> Seen:
    plain, moved = _value(part(STUDENT, TEACHER, 1.0)), _value(part(STUDENT + 7, TEACHER - 3, 1.0))
    return _close(plain, moved, 1e-3), f"7 added to all of the student's logits, 3 taken from the teacher's: {moved / plain:.3g} times the loss"


def overflow(part: Part, _: bool) -> Seen:
    broken = []
    for kind, t in itertools.product((torch.float32, torch.float16), (0.5, 1.0)):
        student = torch.tensor([[6e4, -6e4, 0.0], [-6e4, 6e4, 1.0]], dtype=kind)
        slope = _gradient(partial(_soft, part, student.flip(-1), t), student)
        if not torch.isfinite(slope).all():
            broken.append(f"{str(kind).removeprefix('torch.')} at T = {t}")
    return not broken, "logits of +-6e4, T = 0.5 and 1: " + (f"gradient not finite in {', '.join(broken)}" if broken else "finite in float32 and float16")


def several_teachers(part: Part, _: bool) -> Seen:
    calm, loud = torch.tensor([[1.5, 0.0, 0.0]]), 5 * torch.tensor([[0.0, 1.5, 0.0]])
    found = part([calm, loud])[0]
    mean = (calm.softmax(-1) + loud.softmax(-1))[0] / 2
    words = f"a calm teacher says class 0 at {calm.softmax(-1)[0, 0]:.2f}, one 5 times as loud class 1: class 0 is taught at {found[0]:.3f}"
    return _apart(found, mean) < 1e-3, words + f" (the mean: {mean[0]:.3f})"


# ----------------------------------------------------------------------------------------- positions, states, attention
def masked_positions(part: Part, _: bool) -> Seen:
    student, teacher = _normal(3, 4, 5, seed=1), _normal(3, 4, 5, seed=2)
    wild = torch.where(MASK[..., None], teacher, torch.tensor([1e4, 0, 0, 0, 0.0]))
    plain, other = _value(part(student, teacher, MASK)), _value(part(student, wild, MASK))
    return _close(plain, other), f"wild teacher's logits at masked positions: {other / plain:.3g} times the loss"


def lengths_counted_out(part: Part, _: bool) -> Seen:
    student, teacher = _normal(2, 1, 5, seed=1), _normal(2, 1, 5, seed=2)
    pad = torch.full((2, 1, 5), -1e4)
    one, eight = (_value(part(student.repeat(1, n, 1), teacher.repeat(1, n, 1))) for n in (1, 8))
    wide = _value(part(torch.cat([student, pad], -1), torch.cat([teacher, pad], -1)))
    if one < 1e-6:
        return None, "a softmax over the only position: the loss is 0"
    words = f"8 equal positions a row for 1: {eight / one:.3g} times the loss; twice the classes, the new ones empty: {wide / one:.3g}"
    return _close(one, eight) and _close(one, wide), words


def axis(part: Part, _: bool) -> Seen:
    student, teacher = _normal(3, 4, 5, seed=1), _normal(3, 4, 5, seed=2)
    truth = _gradient(lambda at: _kl(teacher.double(), at), student.double())
    cosine = _cosine(_gradient(lambda at: part(at, teacher), student), truth)
    return cosine > 0.9999, f"cosine of the gradient with that of a softmax over classes: {cosine:.4f}"


def padded_states(part: Part, _: bool) -> Seen:
    student, teacher = _normal(3, 4, 6, seed=1), _normal(3, 4, 6, seed=2)
    found = []
    for inside, longer in ((1.0, 0), (10.0, 0), (1.0, 4)):
        mask = torch.nn.functional.pad(MASK, (0, longer))
        both = [torch.nn.functional.pad(states * MASK[..., None], (0, 0, 0, longer)) for states in (student, teacher)]
        both[0] = both[0] + inside * (~mask)[..., None]
        found.append(_value(part(*both, mask)))
    wild, long = found[1] / found[0], found[2] / found[0]
    return _close(wild, 1) and _close(long, 1), f"10 times as much in the padding: {wild:.3g} times the loss; 4 more padding tokens a row: {long:.3g}"


def tokens_counted_once(part: Part, _: bool) -> Seen:
    short, long = (_value(part(torch.zeros(2, n, 4), torch.full((2, n, 4), 3.0), torch.ones(2, n, dtype=torch.bool))) for n in (64, 512))
    return _close(short, long), f"one distance at every token, 512 tokens for 64: {long / short:.3g} times the loss"


def padded_attention(part: Part, _: bool) -> Seen:
    found = []
    for inside, longer in ((1.0, 0), (10.0, 0), (1.0, 4)):
        mask = torch.nn.functional.pad(MASK, (0, longer))
        both = [
            [torch.where(mask[:, None, :, None], _normal(3, 2, 8, 4, seed=4 * s + v)[:, :, : 4 + longer], torch.tensor(inside)) for v in range(2)]
            for s in range(2)
        ]
        found.append(_value(part(*both, mask)))
    if not np.isfinite(found).all():
        return False, f"the loss on a padded batch is {next(value for value in found if not math.isfinite(value))}"
    wild, long = found[1] / found[0], found[2] / found[0]
    return _close(wild, 1) and _close(long, 1), f"10 times as much in the padding: {wild:.3g} times the loss; 4 more padding tokens a row: {long:.3g}"


def nothing_taught(part: Part, _: bool) -> Seen:
    return _nothing(lambda at: part(at, _normal(3, 4, 5, seed=2), torch.zeros_like(MASK)), _normal(3, 4, 5, seed=1), "no position is taught")


def no_gold(part: Part, _: bool) -> Seen:
    return _nothing(lambda at: part(at, torch.full((6,), -1)), STUDENT, "no row has gold")


def _nothing(loss: Callable[[Tensor], Tensor], at: Tensor, when: str) -> Seen:
    value, slope = _value(loss(at)), _gradient(loss, at).norm().item()
    return value == slope == 0, f"a batch where {when}: the loss is {value:.2g}, its gradient {slope:.2g}"


# ------------------------------------------------------------------------------------------------------------ training
def _whole_and_parts(part: Part, rows: int, size: int) -> float:
    """Return how far the gradient of a step cut into parts of ``size`` rows is from the whole step's, as a share of it."""
    whole, parts = part(toys.Job(rows, rows)), part(toys.Job(rows, size, accumulate=-(-rows // size)))
    one, other = (torch.cat([trace.steps[0][name].flatten() for name in sorted(whole.steps[0])]) for trace in (whole, parts))
    return _apart(other, one)


def micro_batches(part: Part, _: bool) -> Seen:
    off = _whole_and_parts(part, 12, 3)
    return off < 1e-4, f"12 rows of 1 to 23 tokens at once or as 4 x 3: gradients apart by {off:.1%}"


def last_part(part: Part, _: bool) -> Seen:
    off = _whole_and_parts(part, 10, 4)
    return off < 1e-4, f"10 rows at once or as 4 + 4 + 2: gradients apart by {off:.1%}"


def last_step(part: Part, _: bool) -> Seen:
    one, two = (len(part(toys.Job(10, 4, accumulate=2, epochs=epochs, learning_rate=1e-3)).rows()) for epochs in (1, 2))
    return one == 10, f"10 rows, not shuffled, as 4 + 4 + 2, two of these to a step: {one} were learnt from in one epoch, {two} in two"


def train_mode(part: Part, _: bool) -> Seen:
    modes = part(toys.Job(12, 4, epochs=2, learning_rate=1e-3, validates=True)).modes
    return all(modes), f"two epochs, validated after each: {sum(modes)} of {len(modes)} training batches in train mode"


def saved_alone(part: Part, _: bool) -> Seen:
    with tempfile.TemporaryDirectory() as folder:
        found, fresh = part(toys.Job(teacher_width=4, learning_rate=1e-3), Path(folder))
    extra, missing = sorted(set(found) - set(fresh)), sorted(set(fresh) - set(found))
    return not extra and not missing, f"saved: {len(found)} tensors, a fresh student has {len(fresh)}" + (f"; beside it {', '.join(extra)}" if extra else "")


def own_answers(part: Part, _: bool) -> Seen:
    job = toys.Job(12, 4, epochs=3)
    truth = job.taught()
    met = part(job)
    own = sum(bool(torch.allclose(scores, truth[row], atol=1e-5)) for row, scores in met)
    return own == len(met) == 36, f"three shuffled epochs of 12 rows: {own} of {len(met)} rows met their own answer"


def one_scale(part: Part, _: bool) -> Seen:
    said, truth = part(toys.Job(12, 4))
    words = ", ".join(f"{name} loss {value / truth:.3f}" for name, value in said.items()) + " times the mean over 12 rows, batches of 4"
    return all(_close(value, truth, 1e-3) for value in said.values()), words + ("; it reports no other" if len(said) == 1 else "")


# ------------------------------------------------------------------------------------------------------ teacher, options
def teacher_mode(part: Part, _: bool) -> Seen:
    with tempfile.TemporaryDirectory() as folder:
        apart, trained = part(toys.classifier(Path(folder), dropout=0.3))
    return apart < 1e-6 and not trained, f"two answers to one batch are {apart:.2g} apart; its weights {'were' if trained else 'were not'} trained"


def label_order(part: Part, _: bool) -> Seen:
    order = ("pos", "neg", "neu")
    with tempfile.TemporaryDirectory() as name:
        folder = toys.classifier(Path(name))
        truth = toys.told(folder)[:, [toys.LABELS.index(label) for label in order]]
        try:
            found = part(folder, order, toys.TEXTS)
        except Exception as error:  # whatever a tool raises refuses the labels
            return True, f"refused: {str(error)[:80]}"
    off = float(np.abs(found - truth).max())
    return off < 1e-4, f"a student whose labels are in another order is taught probabilities off by up to {off:.2f}"


def misspelt(part: Part, _: bool) -> Seen:
    found: Mapping[str, bool] = part()
    ignored = [name for name, refused in found.items() if not refused]
    return not ignored, f"{len(ignored)} of {len(found)} misspelt names went through" + (f": {', '.join(ignored)}" if ignored else "")

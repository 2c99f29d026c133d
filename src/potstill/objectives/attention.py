"""What attends to what: attention maps of two models, and the relations of their queries, keys and values.

The teacher gives vectors, (tokens, 3 * width) a layer: its maps, length x length, are made again from them, a batch at a time. So
what is kept grows with the length, not with its square. A layer of width 384 takes 53 kB a row of SST-2 (measured), half a gigabyte for
10,000 rows, on disk: the store maps it, and memory holds what a batch looks at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..students.protocol import Attention
from .divergences import widened

HIDDEN = -1e30  # the score of padding: no probability, and still a number
PARTS = 3  # query, key, value


def relations(student: Attention, layer: int, teacher: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Return the KL of the teacher's self-relations from the student's, summed over tokens; and the number of tokens.

    For queries, keys and values each: the softmax over a row's tokens of their scaled dot products, in ``heads`` relation heads: all
    heads' vectors end to end, cut anew, so that counts and widths may differ. A mean over relation heads, a sum over the three
    kinds (Wang et al. 2021, MiniLMv2, arXiv:2012.15828, eq. 5 and 6). *Shape:* ``teacher`` (tokens, 3 * width), rows end to end.
    """
    given = rows(teacher, student.mask).chunk(PARTS, dim=-1)
    kinds = [_divergence(own, told, student.mask, heads) for own, told in zip(student.vectors[layer], given)]
    return torch.stack(kinds).sum() / heads, student.mask.sum().float()


def maps(
    student: Attention, pairs: Sequence[tuple[int, int]], teacher: Mapping[int, Tensor], *, student_heads: int, teacher_heads: int
) -> tuple[Tensor, Tensor]:
    """Return the squared distance of attention scores, as a mean over layers, heads and the tokens attended to, summed over the
    tokens that attend; and their number.

    Scores before the softmax learn faster than maps after it (Jiao et al. 2020, TinyBERT, arXiv:1909.10351, eq. 7 and section 4.2).
    A softmax knows them up to a constant, so both sides are centered over a row's tokens. Where the numbers of heads differ, neighbours
    are joined until both have the greatest common number: the score of joined heads is the mean of theirs. ``pairs`` are (teacher's
    layer, student's layer) from 1; *Shape:* ``teacher`` (tokens, 3 * width) by layer. What a model adds to its scores (MPNet's relative
    positions) is left out on both sides.
    """
    heads = math.gcd(student_heads, teacher_heads)
    keep = student.mask[:, None, None, :]
    distances = []
    for told, layer in pairs:
        query, key, _ = student.vectors[layer]
        given_query, given_key, _ = rows(teacher[told], student.mask).to(widened(query).dtype).chunk(PARTS, dim=-1)
        # ``scores`` gives the sum over n joined heads by sqrt(n); the mean is that by sqrt(n) again.
        own = scores(query, key, heads) / (student_heads / heads) ** 0.5
        given = scores(given_query, given_key, heads) / (teacher_heads / heads) ** 0.5
        apart = ((_centered(own, keep) - _centered(given, keep)).square() * keep).sum(dim=-1) / keep.sum(dim=-1).clamp(min=1)
        distances.append((apart.mean(dim=1) * student.mask).sum())
    return torch.stack(distances).mean(), student.mask.sum().float()


def usual_layer(layers: int) -> int:
    """Return the teacher's layer whose relations teach best: the last of up to 12; of more, one seven eighths up (Wang et al. 2021: the 21st
    of BERT-large's 24)."""
    return layers if layers <= 12 else round(0.875 * layers)


def relation_heads(student_width: int, teacher_width: int, teacher_heads: int) -> int:
    """Return the most relation heads, no more than the teacher's own heads, that divide both widths."""
    common = math.gcd(student_width, teacher_width)
    return max(heads for heads in range(1, min(teacher_heads, common) + 1) if common % heads == 0)


def rows(flat: Tensor, mask: Tensor) -> Tensor:
    """Return rows end to end as rows side by side, 0 where ``mask`` has none. *Shapes:* (tokens, width), (rows, length) -> (rows, length, width)."""
    padded = torch.zeros(*mask.shape, flat.shape[-1], dtype=flat.dtype, device=flat.device)
    padded[mask] = flat
    return padded


def scores(left: Tensor, right: Tensor, heads: int) -> Tensor:
    """Return scaled dot products in float32 at least. *Shapes:* (rows, length, width) each -> (rows, heads, length, length)."""
    size, length, width = left.shape
    with torch.autocast(left.device.type, enabled=False):
        one, other = (widened(side).view(size, length, heads, width // heads).transpose(1, 2) for side in (left, right))
        return (one * (width // heads) ** -0.5) @ other.transpose(2, 3)


def _centered(given: Tensor, keep: Tensor) -> Tensor:
    return given - (given * keep).sum(dim=-1, keepdim=True) / keep.sum(dim=-1, keepdim=True).clamp(min=1)


def _divergence(student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
    with torch.autocast(student.device.type, enabled=False):  # it would take the products to bf16
        total: Tensor = _Divergence.apply(student, teacher, mask, heads)
    return total


class _Divergence(torch.autograd.Function):
    """The KL of the teacher's relations of one kind from the student's, summed over relation heads and the tokens that ``mask`` keeps.

    *Shapes:* vectors (rows, length, width) each, ``mask`` (rows, length). By hand, because the slope at the scores, the difference of
    the two maps, is there when the value is: then the gradient is one product more, and no map outlives the call. It is held to
    float64 in the tests. A zero is added, as in :func:`divergences.kl`, that makes errors of the normalizers cancel.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
        keep = mask[:, None, :, None].to(widened(student).dtype)  # of the tokens that relate
        padding = (1 - keep).transpose(2, 3) * HIDDEN  # of those related to
        own, given = (_heads(vectors, heads, keep.dtype) for vectors in (student, teacher))
        log_own, log_told = (_relations(vectors, padding) for vectors in (own, given))
        told = log_told.exp()
        apart = log_told.sub_(log_own).mul_(keep)
        slope = log_own.exp_().sub_(told).mul_(keep)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(_gradient(own, slope))
            ctx.student, ctx.heads, ctx.dtype = student.shape, heads, student.dtype
        return torch.dot(told.flatten(), apart.flatten()) + slope.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        (size, length, width), heads = ctx.student, ctx.heads
        aside = gradient.unflatten(0, (size, heads)).transpose(1, 2).reshape(size, length, width)
        return (aside * (outer * _scale(width, heads))).to(ctx.dtype), None, None, None


def _heads(vectors: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
    """Return vectors cut into heads, scaled so that their products are. *Shapes:* (rows, length, width) -> (rows * heads, length, depth)."""
    size, length, width = vectors.shape
    made = torch.empty(size, heads, length, width // heads, dtype=dtype, device=vectors.device)
    return made.copy_(vectors.view(size, length, heads, -1).transpose(1, 2)).mul_(_scale(width, heads)).flatten(0, 1)


def _scale(width: int, heads: int) -> float:
    """Return what each side of a dot product is scaled by: together, by the root of their depth."""
    return float((width // heads) ** -0.25)


def _relations(vectors: Tensor, padding: Tensor) -> Tensor:
    """Return the log-softmax of dot products. *Shapes:* (rows * heads, length, depth) -> (rows, heads, length, length)."""
    products = torch.bmm(vectors, vectors.transpose(1, 2))
    return products.unflatten(0, (len(padding), -1)).add_(padding).log_softmax(dim=-1)


def _gradient(vectors: Tensor, slope: Tensor) -> Tensor:
    """Return the gradient at scaled vectors (rows * heads, length, depth) from that at the scores, on both sides of which they stand."""
    at = slope.flatten(0, 1)
    return torch.bmm(at, vectors).baddbmm_(at.transpose(1, 2), vectors)

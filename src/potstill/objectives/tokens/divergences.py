"""How far the student's tokens q are from the teacher's p: one family, a KL(p || m) + b KL(q || m) with m = c p + (1 - c) q.

| name | a | b | c | source |
|---|---|---|---|---|
| forward_kl | 1 | 0 | 0 | Hinton et al. 2015, arXiv:1503.02531 |
| reverse_kl | 0 | 1 | 1 | Gu et al. 2024, arXiv:2306.08543 |
| jsd(beta) | beta | 1 - beta | beta | Agarwal et al. 2024, arXiv:2306.13649, eq. 1 |
| skew_kl(alpha) | 1 | 0 | alpha | Ko et al. 2024, arXiv:2402.03898, eq. 5 |
| skew_reverse_kl(alpha) | 0 | 1 | 1 - alpha | the same |

and beside it total variation, the sum of |p - q| / 2. By the convention of the field ``beta`` 0 is forward KL and 1 reverse KL, though
jsd itself goes to zero at both ends, as beta KL(p || q) and (1 - beta) KL(q || p). ``normalized`` divides it by beta (1 - beta): then both
ends are limits, and no step lies between beta = 0 and beta -> 0.

A function of the family takes log-probabilities (rows, tokens) and returns the rows' divergences. It writes the gradient at the
student's logits over the student's log-probabilities, and uses up the teacher's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.linalg import vecdot

from ...errors import UserError

FLOOR = -80.0  # the teacher's least log-probability: reverse KL from what it rules out is large and finite. e^-80 is no denormal
FAR = 80.0  # |log p - log q| from which m is its larger part alone, to the last digit of float32 and of float64
TIE = 1e-5  # |p - q| / (p + q) up to which total variation, which has a corner there, takes p and q for equal


@dataclass(frozen=True)
class Divergence:
    """One of the family: ``rows(own, told)``, as this module's docstring says."""

    name: str
    rows: Callable[[Tensor, Tensor], Tensor]


def forward_kl() -> Divergence:
    return Divergence("forward_kl", _forward)


def reverse_kl() -> Divergence:
    return Divergence("reverse_kl", _reverse)


def jsd(beta: float = 0.5, *, normalized: bool = False) -> Divergence:
    """Return the generalised Jensen-Shannon divergence, of forward KL at ``beta`` 0 and of reverse KL at 1."""
    _within("beta", beta, 0.0, 1.0)
    if beta in (0.0, 1.0):
        return reverse_kl() if beta else forward_kl()
    return Divergence("jsd", partial(_jsd, beta=beta, scale=1 / (beta * (1 - beta)) if normalized else 1.0))


def skew_kl(alpha: float = 0.1) -> Divergence:
    """Return KL(p || alpha p + (1 - alpha) q): forward KL at ``alpha`` 0, 0 at 1."""
    _within("alpha", alpha, 0.0, math.nextafter(1.0, 0.0))
    return Divergence("skew_kl", partial(_skew, share=alpha)) if alpha else forward_kl()


def skew_reverse_kl(alpha: float = 0.1) -> Divergence:
    """Return KL(q || (1 - alpha) p + alpha q): reverse KL at ``alpha`` 0, 0 at 1."""
    _within("alpha", alpha, 0.0, math.nextafter(1.0, 0.0))
    return Divergence("skew_reverse_kl", partial(_skew_reverse, share=1 - alpha)) if alpha else reverse_kl()


def total_variation() -> Divergence:
    return Divergence("total_variation", _total_variation)


NAMES: Mapping[str, Callable[..., Divergence]] = {
    made.__name__: made for made in (forward_kl, reverse_kl, jsd, skew_kl, skew_reverse_kl, total_variation)
}  # fmt: skip


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"{name} is {value}", place="token loss, divergence", remedy=f"{name} lies between {low:g} and {high:g}")


def _forward(own: Tensor, told: Tensor) -> Tensor:
    """KL(p || q). A zero is added, sum q - p, that makes errors of the normalizers cancel: over 49,000 tokens they hide the value near p = q."""
    share = told.exp()
    value = vecdot(share, told.sub_(own))
    own.exp_().sub_(share)
    return value.add_(own.sum(dim=-1))


def _reverse(own: Tensor, told: Tensor) -> Tensor:
    """KL(q || p), with the same zero; its gradient is q (log q / p - KL)."""
    share = told.exp()
    gap = told.sub_(own)  # log p / q
    own.exp_()
    value = -vecdot(own, gap)
    zero = share.sub_(own).sum(dim=-1)
    own.mul_(gap.add_(value[:, None])).neg_()
    return value.add_(zero)


def _mixture(own: Tensor, told: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return p, log p / m and log m / q, and make ``own`` q. Near p = q the logarithms keep all their digits."""
    teacher = told.exp()
    gap = told.sub_(own).clamp_(-FAR, FAR)
    own.exp_()
    up = torch.expm1(gap).mul_(share).log1p_()
    return teacher, gap.sub_(up), up


def _jsd(own: Tensor, told: Tensor, *, beta: float, scale: float) -> Tensor:
    """beta KL(p || m) + (1 - beta) KL(q || m); its gradient is (1 - beta) q (log q / m - KL(q || m))."""
    teacher, down, up = _mixture(own, told, beta)
    from_own = -vecdot(own, up)
    value = vecdot(teacher, down).mul_(beta * scale).add_(from_own, alpha=(1 - beta) * scale)
    own.mul_(up.add_(from_own[:, None])).mul_(-(1 - beta) * scale)
    return value


def _skew(own: Tensor, told: Tensor, *, share: float) -> Tensor:
    """KL(p || m), and a zero of (1 - c) (sum q - p). The slope at q is -(1 - c) p / m, of which a constant changes nothing."""
    teacher, down, _ = _mixture(own, told, share)
    value = vecdot(teacher, down).add_(teacher.neg_().add_(own).sum(dim=-1), alpha=1 - share)
    return _through_softmax(own, down.expm1_().mul_(own).mul_(share - 1), value)


def _skew_reverse(own: Tensor, told: Tensor, *, share: float) -> Tensor:
    """KL(q || m), and a zero of c (sum p - q). The slope at q is log q / m - (1 - c) q / m, and a constant."""
    teacher, _, up = _mixture(own, told, share)
    value = -vecdot(own, up)
    value.add_(teacher.sub_(own).sum(dim=-1), alpha=share)
    return _through_softmax(own, torch.expm1(-up).mul_(share - 1).sub_(up).mul_(own), value)


def _total_variation(own: Tensor, told: Tensor) -> Tensor:
    """The sum of |p - q| / 2, and the subgradient that is zero where they are equal."""
    teacher = told.exp_()
    own.exp_()
    apart = own - teacher
    value = apart.abs().sum(dim=-1).mul_(0.5)
    sign = torch.where(apart.abs() > TIE * teacher.add_(own), apart.sign_(), 0.0)
    return _through_softmax(own, sign.mul_(own).mul_(0.5), value)


def _through_softmax(own: Tensor, sloped: Tensor, value: Tensor) -> Tensor:
    """Write the gradient at logits, q r - q (q · r), over ``own``, which is q; ``sloped`` is q r, r the slope at q. Return ``value``."""
    total = sloped.sum(dim=-1, keepdim=True)
    own.mul_(-total).add_(sloped)
    return value

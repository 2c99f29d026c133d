"""The same losses as a reader of the papers would write them: whole logits, float64, autograd. Knows nothing of our code but its inputs."""

from __future__ import annotations

import torch

FLOOR = -80.0  # the documented one: the teacher's log-probabilities are not less


def logits(hidden, weight, bias=None, down=None, up=None, scaling=1.0, scale=1.0, softcap=None):
    x = hidden @ weight.T
    if bias is not None:
        x = x + bias
    if down is not None:
        x = x + scaling * hidden @ down.T @ up.T
    x = x * scale
    return x if softcap is None else softcap * torch.tanh(x / softcap)


def divergence(name, p, q, **options):
    """Rows of one divergence from probabilities (rows, tokens); 0 log 0 = 0."""

    def kl(a, b):
        return torch.where(a > 0, a * (a.clamp(min=1e-300).log() - b.clamp(min=1e-300).log()), torch.zeros_like(a)).sum(-1)

    if name == "forward_kl":
        return kl(p, q)
    if name == "reverse_kl":
        return kl(q, p)
    if name == "total_variation":
        return (p - q).abs().sum(-1) / 2
    if name == "jsd":
        beta = options.get("beta", 0.5)
        if beta in (0, 1):
            return kl(q, p) if beta else kl(p, q)
        m = beta * p + (1 - beta) * q
        value = beta * kl(p, m) + (1 - beta) * kl(q, m)
        return value / (beta * (1 - beta)) if options.get("normalized") else value
    alpha = options.get("alpha", 0.1)
    return kl(p, alpha * p + (1 - alpha) * q) if name == "skew_kl" else kl(q, (1 - alpha) * p + alpha * q)


def full(own, told, temperature):
    """Probabilities (p, q) over the ids that both have."""
    shared = min(own.shape[-1], told.shape[-1])
    p, q = ((side[..., :shared] / temperature).softmax(-1) for side in (told, own))
    return p.clamp(min=torch.tensor(FLOOR).exp().double()), q


def sparse(own, ids, logprobs, tail, temperature):
    """Probabilities (p, q) over the top-k and a token for the rest, added up and then softened."""
    real = logprobs > -torch.inf
    q = own.softmax(-1)
    kept = torch.where(real, q.gather(-1, ids), 0.0)
    out = torch.ones_like(q).scatter(-1, torch.where(real, ids, ids[:, :1]), 0.0)
    q = torch.cat([kept, (q * out).sum(-1, keepdim=True)], -1)
    p = torch.cat([logprobs.exp(), tail[:, None]], -1)
    p, q = ((side / side.sum(-1, keepdim=True)) for side in (p, q))
    p, q = (torch.where(side > 0, side.clamp(min=1e-300) ** (1 / temperature), 0.0) for side in (p, q))
    return p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)


def sampled(own, ids, weights, logprobs=None):
    q = own.log_softmax(-1).gather(-1, ids)
    if logprobs is None:
        return -(weights * q).sum(-1)
    ratio = (q - logprobs).exp()
    return (weights * (ratio - 1 - (q - logprobs))).sum(-1)


def cross_entropy(own, labels):
    there = labels != -100
    return torch.where(there, -own.log_softmax(-1).gather(-1, torch.where(there, labels, 0)[:, None])[:, 0], 0.0)

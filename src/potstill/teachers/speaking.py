"""A language model of ``transformers`` that writes: its likeliest token each time, rows of like length side by side. Texts end as a shipped model's do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import rng
from ..errors import TeacherError
from ..records import Want
from ..serving.completions import Answer, Sampling
from ..serving.turns import Turns

GREEDY = "greedy-"  # how a want for an answer begins that takes the likeliest token each time; then the most tokens that it may have
Next = Callable[[Tensor, Tensor, Any], tuple[Tensor, Any]]  # ids and mask *Shape:* (rows, length), cache -> logits (rows, vocabulary), cache


def wanted(most: int) -> Want:
    """Return what a teacher is asked for its own answer of at most so many tokens: their ids (tokens, 1), the one that ends it among them."""
    return Want("text", coded=f"{GREEDY}{most}")


def limit(want: Want) -> int:
    """Return the most tokens that an answer may have. Raises :class:`TeacherError` for a want that says none."""
    number = (want.coded or "").removeprefix(GREEDY)
    if not number.isdigit() or not int(number):
        raise TeacherError(f"an answer is wanted as '{want.coded}', and that says not how", place=want.key, remedy=f"{GREEDY}64")
    return int(number)


def written(
    step: Next, turns: Turns, rows: Mapping[str, Mapping[str, Any]], *, most: int, context: int, batch: int, device: str
) -> Iterator[tuple[str, np.ndarray]]:  # fmt: skip
    """Yield by id the tokens of each row's answer *Shape:* (tokens, 1) int32; one that stands in the row already is not looked at.

    ``context``: tokens that prompt and answer may have together; ``batch``: rows at a time.
    """
    sampling = Sampling.checked(most, 0.0, 1.0, 0, ())
    answers = {id: _begun(turns, row, sampling, context) for id, row in rows.items()}
    waiting = sorted((answer for answer in answers.values() if answer.finish is None), key=lambda answer: len(answer.prompt))
    for start in range(0, len(waiting), batch):
        _finish(step, waiting[start : start + batch], turns.pad, device)
    yield from ((id, np.array(answer.ids, np.int32).reshape(-1, 1)) for id, answer in answers.items())


def _begun(turns: Turns, row: Mapping[str, Any], sampling: Sampling, context: int) -> Answer:
    ids = turns.question(row)
    prompt = ids if len(ids) else np.array([turns.renderer.end], np.int64)  # something must foretell the first token
    return Answer(prompt, sampling.within(context - len(prompt)), turns, rng.stream(0))


def _finish(step: Next, live: Sequence[Answer], pad: int, device: str) -> None:
    """Go on with some answers, padded in front to one length, until each has ended."""
    length = max(len(answer.prompt) for answer in live)
    ids, mask = (torch.full((len(live), length), fill, dtype=torch.long, device=device) for fill in (pad, 0))
    for line, answer in enumerate(live):
        ids[line, length - len(answer.prompt) :] = torch.from_numpy(answer.prompt)
        mask[line, length - len(answer.prompt) :] = 1
    cache: Any = None
    while live:
        logits, cache = step(ids, mask, cache)
        for answer, scores in zip(live, logits.float().cpu().numpy()):
            answer.take(scores)
        kept = [line for line, answer in enumerate(live) if answer.finish is None]
        if kept and len(kept) < len(live):
            chosen = torch.tensor(kept, device=device)
            cache.batch_select_indices(chosen)
            mask = mask[chosen]
        live = [live[line] for line in kept]
        ids = torch.tensor([[answer.ids[-1]] for answer in live], dtype=torch.long, device=device)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1) if live else mask

"""The teacher's last hidden states, for where its head is at hand: every probability of the vocabulary at a few hundred bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import StoreError
from . import frame

KINDS = {"int8": b"i", "bf16": b"b"}


def encode(states: np.ndarray, lengths: Sequence[int], head: bytes, precision: str = "int8") -> list[bytes]:
    """Return a value for each row of ``states`` (positions, width); ``head`` is the sha256 of the head that makes them logits.

    int8 has a scale a position: width + 4 bytes. bf16 keeps eight bits of mantissa: 2 x width. Raises :class:`StoreError` unless finite.
    """
    states = np.asarray(states, np.float32)
    if states.ndim != 2 or not np.isfinite(states).all():
        raise StoreError(f"states of shape {states.shape}, or not finite", place="token store", remedy="give (positions, width), behind the last norm")
    width, packed = np.array([states.shape[1]], "<u4").tobytes(), _packed(states, precision)
    ends = np.cumsum(lengths, dtype=np.int64)
    parts = [packed[end - length : end].tobytes() for length, end in zip(lengths, ends.tolist())]
    return [frame.close(KINDS[precision], head[:8], length, width + part) for length, part in zip(lengths, parts)]


def _packed(states: np.ndarray, precision: str) -> np.ndarray:
    if precision == "bf16":
        bits = states.view(np.uint32)
        return ((bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)).astype("<u2")
    scale = np.maximum(np.abs(states).max(1, keepdims=True, initial=0.0) / np.float32(127), np.finfo(np.float32).tiny).astype("<f4")
    rounded = np.clip(np.rint(states / scale), -127, 127).astype(np.int8)
    return np.concatenate([scale.view(np.uint8), rounded.view(np.uint8)], axis=1)


def decode(values: Sequence[bytes], head: bytes, precision: str = "int8") -> tuple[np.ndarray, np.ndarray]:
    """Return the rows' lengths and their states end to end, float32 (positions, width)."""
    found, lengths = [], []
    for value in values:
        positions, body = frame.open(value, KINDS[precision], head[:8])
        width = int(np.frombuffer(body[:4], "<u4")[0]) if len(body) >= 4 else -1
        if len(body) - 4 != positions * (2 * width if precision == "bf16" else width + 4):
            raise StoreError("the bytes don't hold what their header says", place="token store", remedy="the value is damaged: label these rows again")
        lengths.append(positions)
        if precision == "bf16":
            found.append((np.frombuffer(body[4:], "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(positions, width))
        else:
            square = np.frombuffer(body[4:], np.uint8).reshape(positions, width + 4)
            scale = np.ascontiguousarray(square[:, :4]).view("<f4")
            found.append(square[:, 4:].view(np.int8).astype(np.float32) * scale)
    return np.array(lengths, np.int64), np.concatenate(found) if found else np.empty((0, 0), np.float32)

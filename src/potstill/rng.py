"""One seed for a run, and as many independent streams as there are names. No global generator is ever touched."""

from __future__ import annotations

import hashlib

import numpy as np


def integer(seed: int, *names: object) -> int:
    """Return a 63-bit integer that depends on ``seed`` and all ``names`` and nothing else."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: object) -> np.random.Generator:
    """Return the generator of the stream ``names`` under ``seed``; adding a stream changes no other."""
    return np.random.default_rng(integer(seed, *names))

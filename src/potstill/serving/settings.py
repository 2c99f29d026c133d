"""What a server is told when it starts: limits, times, keys by the names of their variables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import UserError


@dataclass(frozen=True)
class Settings:
    """Limits in rows, bytes and seconds. ``workers`` and ``batch`` None: measured at the start (:mod:`tuning`)."""

    host: str = "127.0.0.1"
    port: int = 8000
    max_queue: int = 256  # rows that may wait
    max_requests: int = 512  # that may be inside at a time, waiting for their bodies, too
    max_wait_s: float = 1.0  # that a row may wait; a request that would wait longer is told so at once
    timeout_s: float = 30.0  # of a request, from its first byte to its answer; a request may ask for less
    max_body_bytes: int = 4_000_000
    max_rows: int = 256  # of one request
    max_chars: int = 100_000  # of one text
    workers: int | None = None
    batch: int | None = None
    drain_s: float = 30.0  # that requests in flight have after SIGTERM
    grace_s: float = 0.3  # after SIGTERM, in which connections are still taken, to be told 503
    log_inputs: bool = False
    open_metrics: bool = False  # whether /metrics may be read without a key
    quiet: bool = False


Role = Literal["client", "admin"]


@dataclass(frozen=True)
class Keys:
    """The bearer keys of clients and of those who may change what is served; no client keys: everyone may ask."""

    client: tuple[bytes, ...] = ()
    admin: tuple[bytes, ...] = ()


def keys_from(client: Sequence[str], admin: Sequence[str]) -> Keys:
    """Return the keys that the named environment variables hold. Raises :class:`UserError` for a variable that is empty or not set."""
    return Keys(tuple(map(key_of, client)), tuple(map(key_of, admin)))


def key_of(name: str) -> bytes:
    """Return the key that an environment variable holds. Raises :class:`UserError`."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise UserError(f"the environment variable '{name}' holds no key", remedy=f"export {name}=..., or name another variable")
    return value.encode()

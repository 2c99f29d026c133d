"""This machine: each piece of work in a fresh process, its threads set before any library is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, final

from .. import errors
from ..errors import PotstillError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
LAST_WORDS = 6  # lines of a dead child's standard error


def environment(threads: int | None) -> dict[str, str]:
    """Return this process's environment with the threads of numeric libraries set."""
    return {**os.environ, **({name: str(threads) for name in THREAD_VARIABLES} if threads else {}), "TOKENIZERS_PARALLELISM": "false"}


@final
class LocalEngine:
    """See :class:`potstill.contracts.Engine`."""

    def run(self, ref: str, spec: Mapping[str, Any], *, threads: int | None = None) -> Any:
        """Run ``ref(spec)`` in a process of its own and return its JSON result.

        Raises the child's error where a person can mend it, else :class:`PotstillError` with the child's last words.
        """
        command = [sys.executable, "-m", "potstill.engines.worker", ref]
        done = subprocess.run(
            command, input=json.dumps(spec), capture_output=True, text=True, encoding="utf-8", errors="replace", env=environment(threads), check=False
        )  # fmt: skip
        if done.returncode:
            raise PotstillError(f"{ref} failed ({done.returncode}): " + "\n".join(done.stderr.strip().splitlines()[-LAST_WORDS:]), place=ref)
        said = json.loads(done.stdout)
        if "error" in said:
            raise _rebuilt(**said["error"])
        return said["result"]

    def map(self, ref: str, specs: Sequence[Mapping[str, Any]], *, threads: int | None = None) -> list[Any]:
        """Run ``ref`` on each spec, one after the other: on one machine two at once would only take each other's cores."""
        return [self.run(ref, spec, threads=threads) for spec in specs]


def _rebuilt(kind: str, message: str, place: str, remedy: str) -> PotstillError:
    """Return the child's error as one of its class; a class with arguments of its own becomes the nearest that has none."""
    found = getattr(errors, kind, PotstillError)
    plain = found if not issubclass(found, errors.ProblemsError) else errors.UserError
    return plain(message, place=place, remedy=remedy)

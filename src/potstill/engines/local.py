"""This machine: each piece of work in a fresh process, its threads set before any library is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, final

from ..errors import PotstillError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def environment(threads: int | None) -> dict[str, str]:
    """Return this process's environment with the threads of numeric libraries set."""
    return {**os.environ, **({name: str(threads) for name in THREAD_VARIABLES} if threads else {}), "TOKENIZERS_PARALLELISM": "false"}


@final
class LocalEngine:
    """See :class:`potstill.contracts.Engine`."""

    def run(self, ref: str, spec: Mapping[str, Any], *, threads: int | None = None) -> Any:
        """Run ``ref(spec)`` in a process of its own and return its JSON result; raises with the child's last words where it fails."""
        command = [sys.executable, "-m", "potstill.engines.worker", ref]
        done = subprocess.run(command, input=json.dumps(spec), capture_output=True, text=True, env=environment(threads), check=False)
        if done.returncode:
            raise PotstillError(f"{ref} failed ({done.returncode}): {done.stderr.strip()[-500:]}", place=ref)
        return json.loads(done.stdout.splitlines()[-1])

    def map(self, ref: str, specs: Sequence[Mapping[str, Any]], *, threads: int | None = None) -> list[Any]:
        """Run ``ref`` on each spec, one after the other: on one machine two at once would only take each other's cores."""
        return [self.run(ref, spec, threads=threads) for spec in specs]

"""Start the model's server as a process of its own, and read the count that it keeps."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


@contextlib.contextmanager
def server(folder: Path, **options):
    """Give the base address of a server of the model in ``folder``."""
    command = [sys.executable, "-m", "tests.teachers.endpoint.server", json.dumps({"folder": str(folder), **options})]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        port = process.stdout.readline().strip()
        assert port, "the server did not start"
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.communicate()


def counted(path: Path) -> list[tuple[str, int, int]]:
    """The server's own count: for each request its hash, the tokens in and out."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(line[0], int(line[1]), int(line[2])) for line in lines]

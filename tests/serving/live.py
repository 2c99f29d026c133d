"""A real server in a process of its own, on loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx

from tests.cascade.small import bundle
from tests.serving.graphs import artifact
from tests.serving.slow import slow
from tests.serving.test_labels import many

PROGRAM = """
import atexit, json, os, resource, sys
if most := int(os.environ.get("MOST_BYTES", 0)):  # of any file: a disk that is full
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
def told():
    heavy = sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "transformers", "scipy", "pyarrow", "sklearn", "pandas", "onnx"})
    open(os.environ["TOLD"], "w").write(json.dumps(heavy))
atexit.register(told)
from potstill.cli.main import main
sys.exit(main(["serve", *sys.argv[1:]]))
"""


class Server:
    """``url``; ``lines``: what it has written to standard error so far."""

    def __init__(self, arguments, folder, env):
        self.told = folder / "modules.json"
        environment = {**os.environ, "TOLD": str(self.told), **env}
        command = [sys.executable, "-c", PROGRAM, *map(str, arguments), "--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.url = ""

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def until(self, what, seconds=60.0):
        """Wait for a line that matches; return the match."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in list(self.lines):
                if found := re.search(what, line):
                    return found
            if self.process.poll() is not None:
                self.reader.join(2)
                if found := next((m for line in self.lines if (m := re.search(what, line))), None):
                    return found
                break
            time.sleep(0.02)
        raise AssertionError(f"no line matches {what!r}:\n{''.join(self.lines)[-3000:]}")

    def start(self, ready=True):
        port = self.until(r"listening on http://127.0.0.1:(\d+)").group(1)
        self.url = f"http://127.0.0.1:{port}"
        if ready:
            self.until("potstill: ready")
        return self

    def client(self, **more):
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **more)

    def metric(self, name, **headers):
        """The sum of a metric's samples whose line begins so."""
        with self.client() as client:
            text = client.get("/metrics", headers=headers).text
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    def events(self, kind):
        return [found for line in self.lines if line.startswith("{") and (found := json.loads(line))["event"] == kind]

    def stop(self, number=signal.SIGTERM, seconds=40):
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(seconds)
        self.reader.join(5)
        return code


@contextmanager
def serving(*arguments, folder, ready=True, env=()):
    server = Server(arguments, folder, dict(env))
    try:
        yield server.start(ready)
    finally:
        try:
            server.stop(seconds=20)
        finally:
            if server.process.poll() is None:
                server.process.kill()
            server.process.wait()
            server.reader.join(15)
        server.process.stdout.close()
        server.process.stderr.close()


def bundles(made):
    """Four bundles in a folder: tickets (classes), pairs (two fields), slow (tens of milliseconds a row), sets (any number of labels)."""
    bundle(made / "tickets")
    bundle(made / "pairs", source=lambda place, temperature: artifact(place, fields=("text", "text_pair")), rows=[{"text": "a", "text_pair": "b"}])
    bundle(made / "slow", source=slow)
    bundle(made / "sets", source=lambda place, temperature: many(place))
    return made


def refused(arguments, folder, env=()):
    """The exit code of a server that does not come to serve, and what it wrote."""
    server = Server(arguments, folder, dict(env))
    code = server.process.wait(60)
    server.reader.join(5)
    server.process.stdout.close()
    server.process.stderr.close()
    return code, "".join(server.lines)


def _ask(running, results, inputs, **more):
    with running.client() as client:
        began = time.monotonic()
        found = client.post("/v1/predict", json={"inputs": inputs}, **more)
        results.append((found.status_code, time.monotonic() - began, found))


def together(count, running, inputs, **more):
    results: list = []
    threads = [threading.Thread(target=_ask, args=(running, results, inputs), kwargs=more) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, results

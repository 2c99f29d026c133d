"""`potstill serve` beside LitServe and a plain FastAPI server over the same ONNX; and what it does when it is overloaded, swapped, stopped and killed.

    python benchmarks/serving.py --bundle BUNDLE --peers PYTHON          # PYTHON has litserve, fastapi, uvicorn, onnxruntime, tokenizers
    python benchmarks/serving.py --bundle BUNDLE --peers PYTHON --tiny   # seconds: does it run?

The client is pinned to one core, each server to the other, whichever arm; every process runs ONNX Runtime on one thread. Requests are sent at a fixed
rate over connections that are kept, whatever comes back, and timed from the moment when each was due: a server that falls behind can't hide it. The
highest rate is the highest at which 99 % of the answers took at most 50 ms and none failed, in one of two trials, found by doubling and halving, arm
by arm in turn, so many rounds; LitServe stands with the better of no batches and batches of 8. The overhead is the median of single requests less
that of the same texts through ONNX Runtime alone, tokens ready, on the server's core.
A second call goes on where the first stopped (benchmarks/work/serving). Figures go to benchmarks/results/serving.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from potstill.measuring.machine import machine

HERE = Path(__file__).parent
CLIENT, SERVER = 1, 0  # cores
LIMIT_MS, CONNECTIONS, WAIT_S = 50.0, 64, 0.5
ARMS = ("ours", "plain", "litserve", "litserve-8")
ADMIN = {"authorization": "Bearer benchmark"}


@dataclass(frozen=True)
class Size:
    """How long each part takes."""

    seconds: float = 4.0  # of one rate
    rounds: int = 2
    singles: int = 1000
    overload_s: float = 60.0
    swap_s: float = 20.0
    kills: int = 20


TINY = Size(0.6, 1, 40, 3.0, 2.0, 2)


# ------------------------------------------------------------------------------------------------------------- servers
def command(arm: str, bundle: Path, peers: Path, port: int, more: Sequence[str] = ()) -> list[str]:
    scripts = HERE / "peers"
    if arm == "ours":
        wait = ["--workers", "1", "--max-wait", str(WAIT_S), "--admin-key-env", "ADMIN_KEY", "--quiet"]
        return [sys.executable, "-m", "potstill", "serve", f"model={bundle}", "--port", str(port), *wait, *more]
    if arm == "plain":
        return [str(peers), str(scripts / "serve_plain.py"), str(bundle), str(port)]
    return [str(peers), str(scripts / "serve_litserve.py"), str(bundle), str(port), "8" if arm.endswith("-8") else "1"]


@contextmanager
def running(arm: str, bundle: Path, peers: Path, more: Sequence[str] = ()):
    """A server on its core, ready; ended with all that it started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "ADMIN_KEY": "benchmark"}
    if arm != "ours":
        env.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        ["taskset", "-c", str(SERVER), *command(arm, bundle, peers, port, more)], env=env, stdout=subprocess.DEVNULL, start_new_session=True
    )  # fmt: skip
    try:
        _until_ready(process, port)
        yield process, port
    finally:
        if process.poll() is None:
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started: the session is its own
        process.wait()


def _until_ready(process: subprocess.Popen, port: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit("a server did not become ready")


def memory_mb(pid: int) -> float:
    """Return what a process holds; `taskset` becomes the server that it starts."""
    return int(next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


# -------------------------------------------------------------------------------------------------------------- client
@dataclass
class Sent:
    """What became of requests: (when it was due, status, seconds since then); status 0: the connection ended on it; ``refused``: none was had."""

    done: list[tuple[float, int, float]] = field(default_factory=list)
    wire: list[float] = field(default_factory=list)  # of answers with 200: seconds since they were sent, a free connection in hand
    refused: int = 0
    lost: list[float] = field(default_factory=list)  # when they were sent

    def times(self, status: int = 200) -> np.ndarray:
        return np.array([1000 * took for _, code, took in self.done if code == status])

    def count(self, status: int) -> int:
        return sum(code == status for _, code, _ in self.done)

    def p(self, share: float, status: int = 200) -> float | None:
        times = self.times(status)
        return round(float(np.percentile(times, share)), 3) if len(times) else None


def question(text: str) -> bytes:
    body = json.dumps({"inputs": [text]}).encode()
    return b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: " + str(len(body)).encode() + b"\r\n\r\n" + body


class Line:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, wire: bytes) -> int:
        """Return the status; 0 where the connection ended before the answer did. Raises OSError where there is none to be had."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self.reader is not None
        try:
            self.writer.write(wire)
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            await self.reader.readexactly(length)
        except (OSError, EOFError):
            self.close()
            return 0
        if b"connection: close" in head:
            self.close()
        return int(head[9:12])

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def drive(
    port: int, texts: Callable[[int], str], rate: float, seconds: float, *, beside: Callable[[], Any] | None = None, connections: int = CONNECTIONS
) -> Sent:  # fmt: skip
    """Send at a fixed rate; ``beside`` runs in a thread meanwhile."""
    sent, lines = Sent(), asyncio.LifoQueue()
    held = [Line(port) for _ in range(connections)]
    for line in held:
        lines.put_nowait(line)
    start, asks = time.perf_counter() + 0.05, []
    extra = asyncio.create_task(asyncio.to_thread(beside)) if beside else None

    async def one(number: int, due: float) -> None:
        line = await lines.get()
        began = time.perf_counter()
        try:
            status = await line.ask(question(texts(number)))
            if status == 200:
                sent.wire.append(time.perf_counter() - began)
            sent.done.append((due, status, time.perf_counter() - due))
            if status == 0:
                sent.lost.append(began)
        except OSError:
            sent.refused += 1
        finally:
            lines.put_nowait(line)

    for number in range(int(rate * seconds)):
        due = start + number / rate
        if (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        asks.append(asyncio.create_task(one(number, due)))
        if extra is not None and extra.done() and sent.refused > 50:
            break
    await asyncio.gather(*asks)
    if extra is not None:
        await extra
    for line in held:
        line.close()
    return sent


def driven(*given: Any, **more: Any) -> Sent:
    return asyncio.run(drive(*given, **more))


# --------------------------------------------------------------------------------------------------------------- parts
@dataclass
class Bench:
    """What all parts need."""

    bundle: Path
    peers: Path
    texts: list[str]
    size: Size
    work: Path

    def text(self, number: int) -> str:
        return self.texts[number % len(self.texts)]

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what a part found, made now or before."""
        path = self.work / f"{name}.json"
        if not path.is_file():
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
            found = make()
            path.write_text(json.dumps(found), "utf-8")
        return json.loads(path.read_text("utf-8"))


def highest_rate(bench: Bench, arm: str) -> dict[str, Any]:
    """The highest rate with p99 within the limit: doubled until it fails, then halved in between, to 4 %. It fails if it fails twice: what else
    the machine does for a moment must not end the search."""
    with running(arm, bench.bundle, bench.peers) as (_, port):
        driven(port, bench.text, 20, 1.0)

        def holds(rate: float) -> bool:
            return once(rate) or once(rate)

        def once(rate: float) -> bool:
            sent = driven(port, bench.text, rate, bench.size.seconds)
            tried.append({"rate": round(rate, 1), "p50_ms": sent.p(50), "p99_ms": sent.p(99), "failed": len(sent.done) - sent.count(200) + sent.refused})
            time.sleep(0.2)
            return not tried[-1]["failed"] and (sent.p(99) or 1e9) <= LIMIT_MS

        tried: list[dict[str, Any]] = []
        low, high = 0.0, 100.0
        while high < 20_000 and holds(high):
            low, high = high, 2 * high
        while high - low > 0.04 * high and high > 1:
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
    return {"rate": round(low, 1), "tried": tried}


def bare(bench: Bench) -> dict[str, Any]:
    """ONNX Runtime alone, tokens ready, in a process on the server's core."""
    program = (
        "import sys, time, json; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from serve_plain import Student\n"
        "student, texts = Student(Path(sys.argv[2])), json.loads(sys.stdin.read())\n"
        "ready, took, both = [student.encode([text]) for text in texts], [], []\n"
        "for place in range(len(texts)):\n"
        "    a = time.perf_counter(); student.session.run(None, ready[place]); b = time.perf_counter(); student.answer([texts[place]])\n"
        "    took.append(b - a); both.append(time.perf_counter() - b)\n"
        "print(json.dumps([sorted(took)[len(took) // 2], sorted(both)[len(both) // 2]]))"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    env.pop("PYTHONPATH", None)
    asked = json.dumps([bench.text(i) for i in range(bench.size.singles)])
    done = subprocess.run(
        ["taskset", "-c", str(SERVER), str(bench.peers), "-c", program, str(HERE / "peers"), str(bench.bundle)], input=asked, text=True, capture_output=True,
        check=True, env=env,
    )  # fmt: skip
    run, whole = json.loads(done.stdout)
    return {"run_ms": 1000 * run, "tokenize_and_run_ms": 1000 * whole}


def singles(bench: Bench, arm: str) -> dict[str, Any]:
    """One request after the other."""

    async def ask(port: int) -> list[float]:
        line, took = Line(port), []
        for number in range(bench.size.singles + 20):
            wire, began = question(bench.text(number)), time.perf_counter()
            assert await line.ask(wire) == 200
            took.append(1000 * (time.perf_counter() - began))
        line.close()
        return took[20:]

    with running(arm, bench.bundle, bench.peers) as (_, port):
        took = asyncio.run(ask(port))
    return {"p50_ms": float(np.median(took)), "p99_ms": float(np.percentile(took, 99))}


def overload(bench: Bench, rate: float, unloaded_ms: float) -> dict[str, Any]:
    """Five times what it can do, over 512 connections, timed from when a request went out, for the client can't send faster than one core lets it; then
    how long until a request is answered as if nothing had been."""
    with running("ours", bench.bundle, bench.peers) as (process, port):
        driven(port, bench.text, 0.5 * rate, 2.0)
        driven(port, bench.text, 5 * rate, 1.0, connections=512)
        before = memory_mb(process.pid)
        sent = driven(port, bench.text, 5 * rate, bench.size.overload_s, connections=512)
        after, ended = memory_mb(process.pid), time.perf_counter()
        again = None
        while again is None and time.perf_counter() - ended < 10:
            one = driven(port, bench.text, 100, 0.01)
            again = time.perf_counter() - ended if (one.p(50) or 1e9) <= max(10.0, 2 * unloaded_ms) else None
    other = len(sent.done) - sent.count(200) - sent.count(429)
    return {
        "rate": 5 * rate, "answered": sent.count(200), "refused": sent.count(429), "other": other + sent.refused,
        "p99_ms": 1000 * float(np.percentile(sent.wire or [0.0], 99)), "limit_ms": 2 * unloaded_ms + 1000 * WAIT_S, "memory_mb": [before, after],
        "recovery_s": again,
    }  # fmt: skip


def swap(bench: Bench, rate: float) -> dict[str, Any]:
    """The bundle opened anew and put in its own place, again and again, at half of what it can do."""
    swaps = 0
    with running("ours", bench.bundle, bench.peers) as (_, port):
        end = time.monotonic() + bench.size.swap_s

        def again() -> None:
            nonlocal swaps
            while time.monotonic() < end:
                found = httpx.post(
                    f"http://127.0.0.1:{port}/v1/admin/aliases/model", json={"bundle": str(bench.bundle)}, headers=ADMIN, timeout=60, trust_env=False
                )
                found.raise_for_status()
                swaps += 1

        sent = driven(port, bench.text, 0.3 * rate, bench.size.swap_s, beside=again)
    return {"swaps": swaps, "requests": len(sent.done), "errors": len(sent.done) - sent.count(200) + sent.refused, "p99_ms": sent.p(99)}


def ended(bench: Bench, rate: float, number: int, place: int) -> dict[str, Any]:
    """A signal under load: how many requests that were sent got no answer; and of the traffic log, how old the youngest row is that it lost."""
    log = bench.work / f"traffic-{number}-{place}.db"
    for left in bench.work.glob(f"{log.name}*"):
        left.unlink()
    told: list[float] = []
    with running("ours", bench.bundle, bench.peers, ["--traffic", str(log), "--traffic-inputs"]) as (process, port):

        def strike() -> None:
            time.sleep(2.5)
            told.append(time.perf_counter())
            process.send_signal(number)
            process.wait(60)

        sent = driven(port, lambda i: f"{bench.text(i)} #row{i}", 0.4 * rate, 4.0, beside=strike, connections=16)
        code = process.returncode
    base = sqlite3.connect(log)
    sound = base.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    held = {int(text.rpartition("#row")[2].partition('"')[0]) for (text,) in base.execute("SELECT fields FROM rows")}
    base.close()
    dues = sorted(due for due, _, _ in sent.done)
    first = dues[0]
    missing = [told[0] - (due + took) for due, status, took in sent.done if status == 200 and round((due - first) * 0.4 * rate) not in held]
    return {"code": code, "answered": sent.count(200), "told_503": sent.count(503), "lost_before": sum(at < told[0] for at in sent.lost),
            "lost_after": sum(at >= told[0] for at in sent.lost), "sound": sound, "rows_missing": len(missing),
            "oldest_missing_s": max(missing, default=0.0)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--peers", type=Path, required=True, help="a Python with litserve, fastapi, uvicorn, onnxruntime, tokenizers")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT})
    probes = json.loads((given.bundle / "probes.json").read_text("utf-8"))["probes"]
    texts = [next(iter(probe["fields"].values())) for probe in probes if probe["name"].startswith("validation")]
    work = HERE / "work" / ("serving-tiny" if given.tiny else "serving")
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(given.bundle.resolve(), given.peers.absolute(), texts, TINY if given.tiny else Size(), work)  # a venv's python must not be resolved
    rates = _rates(bench)
    single = {arm: bench.kept(f"single-{arm}", lambda arm=arm: singles(bench, arm)) for arm in ARMS}
    rate = float(np.median(rates["ours"]))
    found = {
        "machine": machine(1), "versions": _versions(given.peers), "bundle_bytes": (given.bundle / "model.onnx").stat().st_size, "limit_ms": LIMIT_MS,
        "rates": rates, "singles": single, "bare": bench.kept("bare", lambda: bare(bench)),
        "overload": bench.kept("overload", lambda: overload(bench, rate, single["ours"]["p99_ms"])), "swap": bench.kept("swap", lambda: swap(bench, rate)),
        **{
            name: [bench.kept(f"{name}-{place}", lambda number=number, place=place: ended(bench, rate, number, place)) for place in range(bench.size.kills)]
            for name, number in (("sigterm", signal.SIGTERM), ("sigkill", signal.SIGKILL))
        },
    }  # fmt: skip
    print(json.dumps({key: found[key] for key in ("rates", "singles", "bare", "overload", "swap")}, indent=1))
    output = work / "tiny.json" if given.tiny else HERE / "results" / "serving.json"
    output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def _rates(bench: Bench) -> dict[str, list[float]]:
    """Arm by arm in turn, so that what else the machine does meets all of them."""
    rates: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for turn in range(bench.size.rounds):
        for arm in ARMS:
            rates[arm].append(bench.kept(f"rate-{arm}-{turn}", lambda arm=arm: highest_rate(bench, arm))["rate"])
    return rates


def _versions(peers: Path) -> dict[str, str]:
    program = (
        "import json; from importlib.metadata import version; print(json.dumps({n: version(n) for n in ('litserve', 'fastapi', 'uvicorn', 'onnxruntime')}))"
    )
    theirs = json.loads(subprocess.run([str(peers), "-c", program], capture_output=True, text=True, check=True).stdout)
    return {**theirs, "ours on onnxruntime": version("onnxruntime"), "ours on uvicorn": version("uvicorn")}


if __name__ == "__main__":
    main()

"""A student before its teacher, live: a run's bundle under load, the teacher behind an endpoint on loopback, asked where the student is not sure.

    potstill quickstart                                            # or any run whose teacher is on this machine
    python benchmarks/cascade_live.py --run RUN --risk 0.1

The policy is fitted on the run's calibration rows: of the answers that are not passed on, at most so many differ from the teacher's, at 95 %. Then every
test row is sent once, at a fixed rate. Told: the share that was passed on, how often a kept answer differs from the teacher's and from gold (with exact
bounds), what a kept and a passed answer took, and the bill beside that of a teacher who answers all, both by the endpoint's own count.
Figures go to benchmarks/results/cascade-live.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as parquet
import yaml

from potstill.evaluation.statistics import clopper_pearson
from potstill.measuring.machine import machine

HERE = Path(__file__).parent
WORK = HERE / "work" / "cascade-live"
PRICES = {"usd_per_million_in": 0.15, "usd_per_million_out": 0.60}


@contextmanager
def running(command: list[str], ready: str):
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 180
        while time.monotonic() < until and process.poll() is None:
            try:
                if httpx.get(ready, trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        else:
            raise SystemExit(f"it did not become ready: {' '.join(command)}")
        yield process
    finally:
        process.terminate()
        process.wait(60)


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def potstill(*told: object) -> list[str]:
    return [sys.executable, "-m", "potstill", *map(str, told)]


async def sent(url: str, texts: list[str], rate: float) -> list[tuple[dict[str, Any], float]]:
    """Send each text once, at ``rate`` a second; return what came back of each, and after how many seconds since it was due."""
    found: list[Any] = [None] * len(texts)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60, limits=httpx.Limits(max_connections=64)) as client:
        start = time.perf_counter() + 0.1

        async def one(number: int) -> None:
            due = start + number / rate
            answer = await client.post("/v1/predict", json={"inputs": [texts[number]]})
            answer.raise_for_status()
            found[number] = (answer.json()["predictions"][0], time.perf_counter() - due)

        asked = []
        for number in range(len(texts)):
            if (ahead := start + number / rate - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            asked.append(asyncio.create_task(one(number)))
        await asyncio.gather(*asked)
    return found


def wrong(of: np.ndarray, among: np.ndarray) -> dict[str, Any]:
    """Return the share that is wrong among some rows, with its two-sided 95 % interval."""
    k, n = int(of[among].sum()), int(among.sum())
    low, high = clopper_pearson(k, n, 0.05)
    return {"value": k / n if n else None, "low": low, "high": high, "n": n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--risk", type=float, default=0.1)
    parser.add_argument("--rate", type=float, default=60.0, help="rows a second")
    parser.add_argument("--rows", type=int, default=5000)
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    run, policy, count = options.run.resolve(), WORK / "policy.json", WORK / "count"
    count.unlink(missing_ok=True)
    fit = potstill("cascade", "fit", run, "--risk", options.risk, "--against", "teacher", "--output", policy)
    print("$", " ".join(fit), flush=True)
    if subprocess.run(fit, check=False).returncode not in (0, 3):
        raise SystemExit("no policy")
    said = {name: parquet.read_table(run / "predictions" / f"{name}.parquet", columns=["place", "gold", "label"]).to_pydict() for name in ("teacher",)}
    lines = [json.loads(line) for line in Path(yaml.safe_load((run / "recipe.yaml").read_text("utf-8"))["data"]["test"]).read_text("utf-8").splitlines()]
    places = [int(place.rpartition(":")[2]) - 1 for place in said["teacher"]["place"]][: options.rows]
    texts = [lines[place]["text"] for place in places]
    gold, teacher = (np.array(said["teacher"][name][: len(texts)]) for name in ("gold", "label"))
    behind, before = port(), port()
    (WORK / "teacher.yaml").write_text(
        yaml.safe_dump(
            {"kind": "endpoint", "url": f"http://127.0.0.1:{behind}/v1", "model": "teacher", "scoring": "text", "version": str(time.time()), **PRICES}
        ),
        "utf-8",
    )
    with ExitStack() as stack:
        stack.enter_context(
            running([sys.executable, str(HERE / "peers" / "teacher_endpoint.py"), str(run), str(behind), str(count)], f"http://127.0.0.1:{behind}/")
        )
        serve = potstill("serve", f"student={run}", "--port", before, "--policy", policy, "--teacher", WORK / "teacher.yaml", "--quiet")
        print("$", " ".join(serve), flush=True)
        stack.enter_context(running(serve, f"http://127.0.0.1:{before}/readyz"))
        found = asyncio.run(sent(f"http://127.0.0.1:{before}", texts, options.rate))
    passed = np.array([one["served_by"] == "teacher" for one, _ in found])
    flagged = sum("flag" in one for one, _ in found)
    label, ms = np.array([one["label"] for one, _ in found]), np.array([1000 * took for _, took in found])
    counted = np.array([line.split() for line in count.read_text().splitlines()], float).reshape(-1, 2)
    usd = float((counted @ [PRICES["usd_per_million_in"], PRICES["usd_per_million_out"]]).sum() / 1e6)
    told = {
        "machine": machine(1), "rows": len(texts), "rate": options.rate, "risk": options.risk, "passed_on": float(passed.mean()), "flagged": flagged,
        "calls": len(counted), "usd": usd, "usd_teacher_alone": usd / max(len(counted), 1) * len(texts),
        "kept_differs": wrong(label != teacher, ~passed), "kept_wrong": wrong(label != gold, ~passed), "teacher_wrong": wrong(teacher != gold, ~passed),
        "all_wrong": wrong(label != gold, np.full(len(texts), True)), "teacher_wrong_all": wrong(teacher != gold, np.full(len(texts), True)),
        "ms": {name: [float(np.percentile(ms[some], p)) for p in (50, 99)] for name, some in (("kept", ~passed), ("passed", passed)) if some.any()},
        "policy": {name: value for name, value in json.loads(policy.read_text("utf-8")).items() if name in ("rows", "bound", "threshold", "coverage")},
    }  # fmt: skip
    (HERE / "results" / "cascade-live.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()

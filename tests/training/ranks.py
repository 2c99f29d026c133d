"""One of several processes that train a toy together over gloo; run by test_processes and by the trap tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[2]


def run(folder: Path, processes: int, *, expect: int = 0, **options) -> dict:
    """Train with ``processes`` processes; return the first one's gradients of every step, final weights and history."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes), "ACCELERATE_USE_CPU": "true",
              "LOCAL_WORLD_SIZE": str(processes), "OMP_NUM_THREADS": "1"}  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.ranks", str(folder), json.dumps(options)]
    started = []
    for rank in range(processes):
        own = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else dict(os.environ)
        started.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=own))
    errors = [process.communicate(timeout=180)[1] for process in started]
    assert [process.returncode for process in started] == [expect] * processes, "\n".join(errors)[-3000:]
    if expect:
        return {}
    return {"gradients": load_file(folder / "gradients.0"), "weights": [load_file(folder / f"weights.{rank}") for rank in range(processes)],
            "history": json.loads((folder / "history.0").read_text())}  # fmt: skip


def main(folder: Path, *, count: int = 13, dropout: float = 0.0, stop_at: int = 0, writing: str = "", **changes) -> None:
    """``writing``: the folder of a language model, of which a part learns what the whole says."""
    import torch

    from potstill.evaluation.statistics import Score
    from potstill.training import loop
    from tests.training import toy
    from tests.training import writing as written

    rank = os.environ.get("RANK", "0")
    gradients = {}
    real = torch.optim.AdamW.step

    def record(self, *args, **kwargs):
        step = len({name.partition(".")[0] for name in gradients})
        found = [p.grad for group in self.param_groups for p in group["params"]]
        gradients.update({f"{step}.{index}": grad.clone() for index, grad in enumerate(found)})
        return real(self, *args, **kwargs)

    torch.optim.AdamW.step = record
    given, student = toy.rows(count, gold=0.4), toy.Toy(double=True, dropout=dropout)
    learnt = toy.terms()
    for term in learnt:
        term.module.double()
    if writing:
        teacher, student, learnt = written.made(Path(writing), layers=3), written.made(Path(writing), double=True), written.terms(hard=0.5)
        given = written.rows_of(student, written.column(teacher, student.preprocess.encode(written.ROWS), "sparse"))

    def judge(trained):
        if writing:
            return Score(0.01 * int(rank))
        return Score(float((loop.predict(trained, given.items).argmax(1) == given.gold).mean()) + 0.01 * int(rank))  # ranks that disagree

    def progress(done, total, detail):
        if done == stop_at:
            raise SystemExit(9)

    spec = toy.spec(**{"steps": 6, "batch_size": 5, "evaluations": 2, "clip": 1e9, **changes})
    history = loop.train(student, given, terms=learnt, spec=spec, evaluate=judge, scratch=folder / "scratch", progress=progress)
    save_file(gradients, folder / f"gradients.{rank}")
    save_file({name: value.clone() for name, value in student.module.state_dict().items()}, folder / f"weights.{rank}")
    (folder / f"history.{rank}").write_text(json.dumps(history.as_json()))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), **json.loads(sys.argv[2]))

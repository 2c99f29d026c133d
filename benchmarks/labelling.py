"""Labelling as potstill does it over a plain loop, on SST-2's own lengths with a fine-tuned MiniLM, one thread.

    python benchmarks/labelling.py --from DIR [--rows 512] [--rounds 10]     # DIR as for benchmarks/classify.py sst2

The plain loop: batches of 32 in file order, padded to the batch's longest, fp32, the model and tokenizer as `transformers` loads them.
Ours: `labels.ask` into an empty store, storing included, in each precision that this machine may be asked for; the one that `auto` finds
is named. All of them take turns, so that whatever else the machine does falls on all alike; ratios are of processor time, round by
round. Figures go to benchmarks/results/labelling.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from classify import HERE, convert
from potstill import steps
from potstill.errors import PotstillError
from potstill.labels import Account, LabelStore, ask
from potstill.measuring import quantiles
from potstill.measuring.machine import machine
from potstill.recipe import load
from potstill.records import Example, Want
from potstill.runlog import RunLog
from potstill.steps import precision
from potstill.teachers import build
from potstill.workspace import open_workspace

LOGPROBS = Want("logprobs")
PRECISIONS = ("fp32", "bf16", "onnx-fp32", "onnx-int8")


def plain(folder: Path, rows: Sequence[Example], labels: Sequence[str], max_length: int) -> Callable[[], np.ndarray]:
    """Return the loop that people write."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    texts = [str(row.fields["text"]) for row in rows]
    order = [model.config.label2id[label] for label in labels]

    @torch.inference_mode()
    def run() -> np.ndarray:
        out = []
        for start in range(0, len(texts), 32):
            batch = tokenizer(texts[start : start + 32], padding=True, truncation=True, max_length=max_length, return_tensors="pt")
            out.append(model(**batch).logits.log_softmax(-1).numpy())
        return np.concatenate(out)[:, order]

    return run


def ours(teacher: Any, rows: Sequence[Example]) -> Callable[[], np.ndarray]:
    def run() -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder, LabelStore(Path(folder)) as store:
            answers = ask(teacher, rows, [LOGPROBS], Account(store))
            return answers.array([row.id for row in rows], LOGPROBS)

    return run


def teachers(source: Path, work_folder: Path, log: RunLog) -> tuple[Any, Mapping[str, Any], Sequence[Example], Sequence[str], Path]:
    """Return what `auto` chose, the teacher in each precision, the training rows in file order, the labels, and the adapted folder."""
    recipe = load(convert("sst2", source, work_folder), ["teacher.precision=auto", "threads=1"])
    with open_workspace(recipe, work_folder / "labelling", log, offline=False, fresh=False) as work:
        data = steps.prepare(work)
        made = steps.adapt(work, data)
        found: dict[str, Any] = {}
        for name in PRECISIONS:
            try:
                spec = made.ready.spec.model_copy(update={"precision": name})
                graph = precision.choose(work, data, spec, made.folder, made.adapted.fingerprint).graph
                found[name] = build(spec, data.head, folder=made.folder, graph=graph, threads=1)
            except PotstillError as error:
                print(f"{name}: {error}", flush=True)
        rows = sorted(data.train, key=lambda row: int(row.place.rpartition(":")[2]))
        return made.ready, found, rows, data.head.labels, made.folder


def measure(runs: Mapping[str, Callable[[], np.ndarray]], rounds: int) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Return the processor seconds of each round, and what each said."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    said = {name: run() for name, run in runs.items()}  # also warms up
    for number in range(rounds):
        for name, run in list(runs.items())[:: 1 if number % 2 else -1]:
            began = time.process_time()
            run()
            seconds[name].append(time.process_time() - began)
        print(f"round {number + 1}: " + ", ".join(f"{name} {took[-1]:.2f} s" for name, took in seconds.items()), flush=True)
    return seconds, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--equal-rows", type=int, default=2000, help="of the test and training sentences, on which answers are compared")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    log = RunLog(
        listeners=[lambda event: print(event.get("title") or event.get("text") or "", flush=True) if event["event"] in ("stage.start", "say") else None]
    )
    ready, found, rows, labels, folder = teachers(options.source, HERE / "work" / "sst2", log)
    length = ready.spec.max_length
    timed = rows[: options.rows]
    runs = {"plain": plain(folder, timed, labels, length), **{name: ours(teacher, timed) for name, teacher in found.items()}}
    seconds, _ = measure(runs, options.rounds)
    compared = rows[: options.equal_rows]
    reference = plain(folder, compared, labels, length)()
    lines = []
    for name, teacher in found.items():
        told = ours(teacher, compared)()
        same, apart = float((told.argmax(1) == reference.argmax(1)).mean()), float(np.abs(np.exp(told) - np.exp(reference)).mean())
        ratio = quantiles.ratio([1 / s for s in seconds[name]], [1 / s for s in seconds["plain"]])
        lines.append(
            {
                "precision": name,
                "times": ratio,
                "same": same,
                "mean_abs_probability_difference": apart,
                "texts_per_cpu_s": len(timed) / float(np.median(seconds[name])),
            }
        )
    result = {
        "machine": machine(1), "rows": len(timed), "rounds": options.rounds, "compared": len(compared), "max_length": length,
        "plain_texts_per_cpu_s": len(timed) / float(np.median(seconds["plain"])), "chosen": ready.spec.precision, "probe": ready.probe, "lines": lines,
    }  # fmt: skip
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "labelling.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result["lines"], indent=1))


if __name__ == "__main__":
    main()

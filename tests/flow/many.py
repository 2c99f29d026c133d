"""A small job whose rows have any number of labels: each cue word in a text brings its label, and many texts have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.small import CUES, PLAIN, RECIPE, jsonl
from tests.tiny import encoder

LABELS = (*CUES, "rare")
RARE = ("snow",)
MANY = (
    RECIPE.replace("slices: [site]", "slices: [site]\n  columns: {labels: tags}")
    .replace("{metric: accuracy, max_drop: 0.05, confidence: 0.95}", "{max_drop: 0.05}")
    .replace("name: small", "name: many")
    .replace("epochs: 3, learning_rate: 2.0e-3}, max_length", "epochs: 24, learning_rate: 3.0e-3}, max_length")
    .replace("layers: 1, epochs: 3", "layers: 1, epochs: 10")
    .replace("hidden: 8, epochs: 4", "epochs: 8")
    .replace("dimensions: 16, epochs: 4", "dimensions: 16, epochs: 8")
)


def texts(count: int, seed: int, *, noise: float = 0.03) -> list[dict[str, object]]:
    """Return ``count`` distinct rows {text, tags, site}; each label applies by itself, and is wrong in ``noise`` of the rows."""
    rng = np.random.default_rng(seed)
    rows: dict[str, dict[str, object]] = {}
    while len(rows) < count:
        applies = {label: rng.random() < 0.35 for label in CUES} | {"rare": rng.random() < 0.02}
        words = [*rng.choice(PLAIN, rng.integers(4, 10))]
        for label, cues in (*CUES.items(), ("rare", RARE)):
            words += [str(word) for word in rng.choice(cues, 2)] if applies[label] else []
        rng.shuffle(words)
        tags = [label for label in LABELS if applies[label] != (rng.random() < noise and label != "rare")]
        rows[" ".join(words)] = {"text": " ".join(words), "tags": tags, "site": str(rng.integers(60))}
    return list(rows.values())


def job(folder: Path, *, train: int = 500, pool: int = 300, test: int = 400, recipe: str = MANY) -> Path:
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

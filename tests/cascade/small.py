"""A bundle written by hand, whose answers are known, and rows with gold that is wrong where it is not sure."""

from __future__ import annotations

import json

import numpy as np

from potstill import storage
from potstill.bundle.write import write
from potstill.records import Artifact
from potstill.serving.predictor import Predictor
from tests.bundle.test_bundle import FACTS
from tests.serving.graphs import LABELS, TABLE, artifact

PROBED = [{"text": "one two"}, {"text": "five"}]


def bundle(folder, *, temperature=1.0, table=TABLE, source=artifact, rows=PROBED):
    """Write a whole bundle into ``folder``; return it."""
    more = {"table": table} if source is artifact else {}
    made = source(folder.with_name(f"{folder.name}-source"), temperature=temperature, **more)
    predictor = Predictor.open(made)
    write(
        folder, Artifact(made, "fp32", storage.size_of(made), storage.sha256_folder(made)), facts=FACTS, calibration={"temperature": temperature},
        rows=rows, fields=predictor.fields, labels=predictor.labels, predict=predictor.predict, decide=predictor.decide, made_from="abc",
    )  # fmt: skip
    return folder


def texts(count, seed=0):
    """Distinct texts of one to six made-up words."""
    random = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(f"w{word}" for word in random.integers(300, size=random.integers(1, 7)))] = None
    return list(found)


def labelled(folder, count, seed=0, error=0.5):
    """Rows {text, label}: gold is drawn to be wrong the oftener, the less sure the bundle is; ``error`` scales how often."""
    predictor = Predictor.open(folder)
    rows = [{"text": text} for text in texts(count, seed)]
    said = np.exp(predictor.predict(rows).astype(np.float64))
    random = np.random.default_rng(seed + 1)
    told = said.argmax(axis=1)
    wrong = random.random(count) < error * (1 - said.max(axis=1)) ** 2
    other = (told + random.integers(1, len(LABELS), size=count)) % len(LABELS)
    return [{**row, "label": LABELS[place]} for row, place in zip(rows, np.where(wrong, other, told))]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path

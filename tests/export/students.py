"""One student of each kind, small, its weights moved off their start; big enough that int8 has something to do."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

import numpy as np
import torch

from potstill.export import ladder
from potstill.records import Example, Head
from potstill.runlog import RunLog
from potstill.students import build
from tests import tiny

HEAD = Head("classes", ("a", "b", "c"))
KINDS = ("transformer", "static", "ngram", "convolutional", "recurrent")
SPECS = {
    "transformer": SimpleNamespace(kind="transformer", layers=2, max_length=None),
    "static": SimpleNamespace(kind="static", dimensions=32, hidden=16, max_length=None),
    "convolutional": SimpleNamespace(kind="convolutional", source="teacher", dimensions=32, widths=[2, 3, 5], filters=16, dropout=0.1, max_length=None),
    "recurrent": SimpleNamespace(kind="recurrent", source="teacher", dimensions=32, hidden=24, layers=2, dropout=0.1, max_length=None),
    "ngram": SimpleNamespace(kind="ngram", buckets=512, dimensions=32, word_ngrams=[1, 2], char_ngrams=[3, 5], hidden=16),
}
ROWS = [
    {"text": text}
    for text in (
        "good film", "the worst service, never again!", "a", "", "chronic pain in the left eye 12", "acute fever and blood of the lung",
        "Ελληνικά κείμενο", "日本語 の text", "very " * 90 + "good",
    )
]  # fmt: skip


@cache
def encoder() -> Path:
    return tiny.encoder(Path(mkdtemp()) / "model", hidden=128, layers=3)


def student(kind, *, fields=("text",), seed=0, head=HEAD):
    """Return a fresh student of ``kind`` after three steps that make its logits large and different."""
    torch.manual_seed(seed)
    seen = [Example.make({field: row["text"] for field in fields}) for row in ROWS]
    made = build.build(SPECS[kind], head, source=encoder(), fields=fields, seed=seed, max_length=64, rows=seen)
    if kind == "transformer":  # as large as they are made there, weights make attention all or nothing: it would double every rounding
        with torch.no_grad():
            for name, weight in made.module.named_parameters():
                if "encoder" in name and weight.ndim == 2:
                    weight.mul_(0.25)
    rows = [{field: row["text"] for field in fields} for row in ROWS]
    batch = {name: torch.from_numpy(array) for name, array in made.preprocess.collate(made.preprocess.encode(rows)).items()}
    gold = torch.arange(len(rows)) % head.width
    optimizer = torch.optim.AdamW(made.module.parameters(), lr=0.05 if kind != "transformer" else 1e-3)
    made.module.train()
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(made.forward(batch).logits, gold).backward()
        optimizer.step()
    made.module.eval()
    return made


def logits(made, rows):
    """What the trained module says of each row alone *Shape:* (rows, classes)."""
    said = []
    with torch.inference_mode():
        for row in rows:
            arrays = made.preprocess.collate(made.preprocess.encode([row]))
            said.append(made.forward({name: torch.from_numpy(array) for name, array in arrays.items()}).logits.numpy())
    return np.concatenate(said)


def exported(made, folder, precision="fp32", **more):
    """Export as the pipeline does; any score passes. ``score``: of a predictor; ``decide``: its decisions."""
    score, decide = more.pop("score", lambda predictor: 1.0), more.pop("decide", lambda predictor: np.zeros(4, int))
    options = {
        "judge": lambda predictor: ladder.Judged(score(predictor), decide(predictor)), "gate": ladder.Gate(0.005, 0.98), "rows": ROWS, "log": RunLog(),
        **more,
    }  # fmt: skip
    return ladder.export(made, folder, precision=precision, **options)

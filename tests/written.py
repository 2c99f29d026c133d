"""A small job of text generation: words that follow each other by one of two chains, and a tiny language model that learnt both as a teacher.

Which chain it is the first word tells: so whoever looks at the last word alone (the floor) knows less than whoever looks back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from potstill.serving.turns import IGNORED, NEXT, Turns, spec_of
from tests import tiny
from tests.small import jsonl

FOLLOW = 2  # words that may follow a word in a chain
SPOKEN = tiny.WORDS[:24]
RECIPE = """
task: text-generation
name: written
data: {train: train.jsonl, validation: validation.jsonl, calibration: calibration.jsonl, test: test.jsonl, near_duplicates: 0}
teacher: {kind: model, model: teacher, max_length: 48, license: apache-2.0, output_license: apache-2.0}
students:
  - {name: half, kind: transformer, from: teacher, layers: 1, epochs: 4, learning_rate: 3.0e-3}
requirement: {quality: {metric: bits_per_byte, max_drop: 0.5}, size_mb: 25}
export: {precision: fp32}
training: {evaluations: 3}
threads: 1
"""


def rows(count: int, seed: int, *, words: int = 13) -> list[dict[str, str]]:
    """Return ``count`` rows {prompt, completion} of chains that are the same for every seed."""
    chains = np.random.default_rng(7).integers(0, len(SPOKEN), (2, len(SPOKEN), FOLLOW))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        place = first = int(rng.integers(len(SPOKEN)))
        said = [SPOKEN[place]]
        for _ in range(words):
            place = int(chains[first % 2, place, rng.integers(FOLLOW)])
            said.append(SPOKEN[place])
        found.append({"prompt": " ".join(said[:8]), "completion": " " + " ".join(said[8:])})
    return found


def teacher(folder: Path, *, steps: int = 400, learning_rate: float = 5e-3) -> Path:
    """Write a tiny language model that learnt the chain to ``folder``; return the folder."""
    tiny.decoder(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    turns = Turns.make(spec_of(tokenizer, max_length=64), tokenizer.backend_tokenizer)
    items = turns.encode(rows(32 * steps, seed=100))
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    for step in range(steps):
        batch = {name: torch.from_numpy(array) for name, array in turns.collate(items[32 * step : 32 * (step + 1)]).items()}
        ahead = batch.pop(NEXT)
        loss = torch.nn.functional.cross_entropy(model(**batch).logits.flatten(0, 1), ahead.flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    return folder


def job(folder: Path, *, train: int = 200, judged: int = 80, recipe: str = RECIPE, steps: int = 400) -> Path:
    """Write data, teacher and recipe into ``folder``; return the recipe's path."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher(folder / "teacher", steps=steps)
    for seed, (name, count) in enumerate((("train", train), ("validation", judged), ("calibration", 40), ("test", judged))):
        jsonl(folder / f"{name}.jsonl", rows(count, seed))
    path = folder / "recipe.yaml"
    path.write_text(recipe, "utf-8")
    return path

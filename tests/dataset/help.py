"""Files and recipes' data sections for the tests of the data stage."""

from __future__ import annotations

import json
from pathlib import Path

from potstill.dataset.prepare import Dataset, load, prepare
from potstill.recipe.data import Data
from potstill.runlog import RunLog
from potstill.tasks import task

WORDS = "amber birch cobalt delta ember fjord garnet harbor iris jasper kelp lumen maple nectar onyx pearl quartz raven saffron tundra".split()


def texts(count: int, start: int = 0) -> list[str]:
    """Return distinct texts of eight words, none near to another."""
    made = []
    for number in range(start, start + count):
        digits = [(number // 20**k + k * 7 + number * (k + 3)) % 20 for k in range(7)]
        made.append(" ".join([*(WORDS[d] for d in digits), f"case{number}"]))
    return made


def rows(count: int, start: int = 0, labels: tuple[str, ...] = ("yes", "no")) -> list[dict]:
    return [{"text": text, "label": labels[i % len(labels)]} for i, text in enumerate(texts(count, start))]


def jsonl(path: Path, made: list) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in made), "utf-8")
    return str(path)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def run(folder: Path, said: list[str] | None = None, **data) -> Dataset:
    """Prepare a data section into ``folder/out`` and read it back; what was said is added to ``said``."""
    out = folder / "out"
    out.mkdir(exist_ok=True)
    log = RunLog(listeners=[] if said is None else [lambda event: said.append(event.get("text", ""))])
    prepare(Data(**data), task("text-classification"), out, log)
    return load(out)


def rows_of(dataset: Dataset, split: str) -> tuple:
    """Return a split's rows, of test too: what no code of ours may do."""
    return dataset.test.load() if split == "test" else getattr(dataset, split).examples


def places(dataset: Dataset, split: str) -> list[str]:
    return [row.place for row in rows_of(dataset, split)]

"""A folder with all that a recipe may name, and the recipe that names it."""

from __future__ import annotations

import json

import pytest
import yaml


@pytest.fixture
def folder(tmp_path, monkeypatch):
    place = tmp_path / "work"
    (place / "model").mkdir(parents=True)
    (place / "model" / "config.json").write_text(json.dumps({"num_hidden_layers": 6}))
    for name in ("train.jsonl", "dev.jsonl", "test.jsonl", "pool.jsonl", "answers.jsonl"):
        (place / name).write_text('{"text": "a", "label": "b"}\n')
    for name in ("teacher.onnx", "tokenizer.json", "mine.py"):
        (place / name).write_text("")
    monkeypatch.chdir(tmp_path)
    return place


@pytest.fixture
def base():
    return {
        "task": "text-classification",
        "name": "tickets",
        "data": {"train": "train.jsonl"},
        "teacher": {"kind": "model", "model": "model", "output_license": "mit"},
        "students": [
            {"name": "half", "kind": "transformer", "layers": 3},
            {"name": "static", "kind": "static"},
            {"name": "ngram", "kind": "ngram"},
        ],
    }


@pytest.fixture
def write(folder):
    def write(value):
        path = folder / "recipe.yaml"
        path.write_text(value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False))
        return path

    return write

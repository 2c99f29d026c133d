"""The recipes that come with the project load, and run, on data laid out as they say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import potstill
from potstill.recipe import load
from tests.small import job

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.fixture
def laid_out(tmp_path):
    """A folder with the small job's data under every name that the recipes give them."""
    job(tmp_path)
    shutil.copytree(tmp_path / "encoder", tmp_path / "model")
    (tmp_path / "sst2").mkdir()
    for part, file in (("train", "train"), ("validation", "validation"), ("test", "test"), ("unlabeled", "pool")):
        shutil.copy(tmp_path / f"{file}.jsonl", tmp_path / "sst2" / f"{part}.jsonl")
    return tmp_path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_loads_and_names_its_source(path, laid_out):
    shutil.copy(path, laid_out)
    assert load(laid_out / path.name).name == path.stem
    assert "arXiv:" in path.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_runs(path, laid_out, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(laid_out / "home"))
    shutil.copy(path, laid_out)
    overrides = ["teacher.adapt.learning_rate=0.002", "data.near_duplicates=0", "threads=1", "training.evaluations=2"]
    run = potstill.distill(laid_out / path.name, output=laid_out / "run", overrides=overrides)
    assert run.report["verdict"]["decision"] in ("ship", "do-not-ship", "inconclusive")

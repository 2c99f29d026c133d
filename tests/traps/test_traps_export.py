"""TRAPS.md 57 and 58: the exported model is the trained one, it is asked as it will be, and exporting leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from potstill import storage
from potstill.bundle.read import read
from potstill.bundle.verify import replay
from potstill.bundle.write import write
from potstill.errors import PotstillError
from potstill.serving.predictor import Predictor
from tests.export.students import ROWS, exported, logits, student

PLAIN = [{"text": "good film"}, {"text": "poor film"}]  # neither short nor long nor of unequal length


class Spoilt:
    """A student whose export differs from what was trained in ``change(ids, logits)``."""

    def __init__(self, made, change):
        self.made, self.change = made, change

    def __getattr__(self, name):
        return getattr(self.made, name)

    def export_module(self):
        return Changed(self.made.export_module(), self.change)


class Changed(nn.Module):
    def __init__(self, module, change):
        super().__init__()
        self.module, self.change = module, change

    def forward(self, ids, weights):
        return self.change(ids, self.module(ids, weights))


CHANGES = {
    "always": lambda ids, logits: logits + 0.01,
    "where there is padding": lambda ids, logits: logits + 0.01 * (ids == 0).any(1, keepdim=True) * (ids > 0).any(1, keepdim=True),
    "where nothing is left of the text": lambda ids, logits: logits + 0.01 * (ids == 0).all(1, keepdim=True),
    "where the text is long": lambda ids, logits: logits + 0.01 * ((ids > 0).sum(1, keepdim=True) > 300),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_trap_57_an_export_that_differs_anywhere_is_refused(tmp_path, change):
    made = student("ngram")
    exported(made, tmp_path / "good", rows=PLAIN)
    with pytest.raises(PotstillError, match="differs from the trained one"):
        exported(Spoilt(made, change), tmp_path / "bad", rows=PLAIN)


@pytest.fixture
def bundle(tmp_path):
    """A bundle whose loader would take the odd inputs wrong if nobody asked."""
    artifact, _ = exported(student("transformer"), tmp_path / "artifact")
    predictor = Predictor.open(artifact.folder)
    facts = {
        "name": "n", "task": "text-classification", "fields": ["text"], "summary": "", "loader": None, "figures": [], "checks": [],
        "provenance": [], "licenses": {}, "limits": [], "command": "c",
    }  # fmt: skip
    write(
        tmp_path / "bundle", artifact, facts=facts, calibration={}, rows=PLAIN, fields=predictor.fields, labels=predictor.labels,
        predict=predictor.predict, decide=predictor.decide,
    )  # fmt: skip
    return tmp_path / "bundle"


def test_trap_57_a_bundle_s_probes_hold_the_odd_inputs(bundle):
    texts = [probe.fields["text"] for probe in read(bundle).probes.probes]
    longest = Predictor.open(bundle).preprocess.encode([{"text": max(texts, key=len)}])[0]
    assert "" in texts
    assert len(longest["input_ids"]) == storage.read_json(bundle / "artifact.json")["preprocess"]["max_length"]  # cut, so its end is told too
    assert sum(not text.isascii() for text in texts) >= 4
    assert {row["text"] for row in PLAIN} <= set(texts)


def test_trap_58_exporting_leaves_every_part_in_its_mode(tmp_path):
    made = student("transformer")
    made.module.train()
    made.module.classifier.eval()
    modes = [part.training for part in made.module.modules()]
    exported(made, tmp_path / "a", "int8")
    assert [part.training for part in made.module.modules()] == modes
    made.module.eval()
    exported(made, tmp_path / "b", "int8")
    assert not any(part.training for part in made.module.modules())


def test_trap_58_what_is_exported_has_no_dropout(tmp_path):
    made = student("transformer")
    trained = logits(made, ROWS)
    made.module.train()
    torch.manual_seed(1)
    exported(made, tmp_path / "a")
    np.testing.assert_allclose(Predictor.open(tmp_path / "a").logits(ROWS), trained, atol=1e-4)


class Runtime:
    """A predictor on a runtime that does something else than was asked."""

    def __init__(self, folder, change=lambda said: said, labels=None):
        self.own, self.change = Predictor.open(folder), change
        self.labels = labels or self.own.labels

    def predict(self, rows):
        return self.change(self.own.predict(rows))

    def decide(self, said):
        return [self.labels[i] for i in said.argmax(axis=1)]


def bf16(said):
    return torch.from_numpy(said).bfloat16().float().numpy()


def test_trap_58_a_runtime_that_computes_in_bf16_is_seen(bundle):
    assert replay(bundle, Runtime(bundle)) == []
    assert replay(bundle, Runtime(bundle, bf16))


def test_trap_58_decisions_are_replayed_by_name(bundle):
    turned = Runtime(bundle).labels[::-1]
    assert {problem.place for problem in replay(bundle, Runtime(bundle, labels=turned))} >= {"probe 'validation 0'"}


def test_trap_58_int8_is_not_taken_on_trust(tmp_path):
    def score(predictor):
        return 0.9 if storage.read_json(predictor.folder / "artifact.json")["precision"] == "fp32" else 0.89

    artifact, told = exported(student("ngram"), tmp_path / "a", "int8", score=score)
    assert artifact.precision == "fp32"
    assert [step["kept"] for step in told["steps"]] == [True, False]


def test_trap_58_an_int8_answer_is_the_same_alone_and_in_company(tmp_path):
    artifact, told = exported(student("transformer"), tmp_path / "a", "int8")
    assert artifact.precision == "int8"
    predictor = Predictor.open(artifact.folder)
    together, turned = predictor.predict(ROWS), predictor.predict(ROWS[::-1])[::-1]
    alone = np.concatenate([predictor.predict([row]) for row in ROWS])
    np.testing.assert_allclose(together, alone, atol=1e-4)  # a grid of its own would move them by hundredths
    np.testing.assert_allclose(turned, alone, atol=1e-4)
    assert told["steps"][1]["parity"]["neighbor_diff"] < 1e-4

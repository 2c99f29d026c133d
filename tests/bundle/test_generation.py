"""A bundle of a language model tells when it no longer says what it said."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from transformers import AutoModelForCausalLM, AutoTokenizer

from potstill import storage
from potstill.bundle import probes as probing
from potstill.bundle.read import read
from potstill.bundle.verify import replay, verify
from potstill.bundle.write import write
from potstill.cli.main import main
from potstill.export import causal
from potstill.serving.generator import Generator
from potstill.serving.turns import spec_of
from tests import tiny
from tests.serving.test_rendering import CHATML

from .test_bundle import FACTS

ROWS = [{"prompt": "the good film", "completion": "never stored"}, {"messages": [{"role": "user", "content": "sun or water"}]}]


@pytest.fixture(params=["fp32", "blocks"])
def bundle(tmp_path, request):
    folder = tiny.decoder(tmp_path / "decoder")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    artifact = causal.write(model, spec_of(tokenizer, max_length=64, template=CHATML), tokenizer.backend_tokenizer, tmp_path / "artifact", request.param)
    speaker = Generator.open(artifact.folder)
    write(tmp_path / "bundle", artifact, facts=FACTS | {"task": "text-generation"}, calibration={"temperature": 1.0}, rows=ROWS, speaker=speaker)
    return tmp_path / "bundle"


def test_it_answers_where_it_stands_as_it_did(bundle, capsys):
    assert verify(bundle, Generator.open) == []
    assert main(["verify", str(bundle)]) == 0
    found = read(bundle)
    assert found.probes.spoken
    assert found.labels == ()
    names = [probe.name for probe in found.probes.probes]
    assert {"longest", "emoji", "validation 0", "validation 1"} <= set(names)
    assert "empty" not in names
    assert "never stored" not in (bundle / "probes.json").read_text()
    (said,) = Generator.open(bundle).generate(ROWS[:1], max_tokens=probing.SPOKEN_TOKENS)
    probe = found.probes.probes[names.index("validation 0")]
    assert (probe.ids, probe.label) == (said.ids, said.text)
    assert "Generator.open" in found.card
    assert "Predictor" not in found.card


def test_other_weights_are_told(bundle):
    path = bundle / "model.onnx"
    graph = onnx.load(path)
    name = next(tensor.name for tensor in graph.graph.initializer if tensor.name == "model.norm.weight")
    (tensor,) = (tensor for tensor in graph.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(-2 * np.random.default_rng(0).random(tensor.dims[0]).astype(np.float32), name))
    path.write_bytes(graph.SerializeToString())
    assert [problem.place for problem in verify(bundle, Generator.open)] == [str(path)]  # the hash first
    assert len(replay(bundle, Generator.open(bundle))) >= 5


def test_what_another_machine_may_say_otherwise(bundle, monkeypatch):
    told = storage.read_json(bundle / "probes.json")
    probe = next(one for one in told["probes"] if len(one["ids"]) > 4)

    def problems(margin, machine):
        monkeypatch.setattr(probing, "runtime", lambda: machine)
        changed = {**probe, "ids": [*probe["ids"][:3], 7, *probe["ids"][4:]], "margins": [margin] * len(probe["ids"])}
        (bundle / "probes.json").write_text(json.dumps(told | {"probes": [changed]}))
        return replay(bundle, Generator.open(bundle))

    assert not problems(0.005, {"machine": "other"})  # as close as another kernel rounds
    assert "token 4 is another" in problems(3.0, {"machine": "other"})[0].message
    assert problems(0.005, told["made_on"])  # here it must be the same
    shorter = {**probe, "ids": probe["ids"][:3], "margins": probe["margins"][:3], "logprobs": probe["logprobs"][:3]}
    (bundle / "probes.json").write_text(json.dumps(told | {"probes": [shorter]}))
    assert "stored are 3" in replay(bundle, Generator.open(bundle))[0].message
    off = {**probe, "logprobs": [value - 1 for value in probe["logprobs"]]}
    (bundle / "probes.json").write_text(json.dumps(told | {"probes": [off]}))
    assert "off by 1" in replay(bundle, Generator.open(bundle))[0].message

"""Bundles that write, made of tiny language models with random weights."""

from __future__ import annotations

from transformers import AutoModelForCausalLM, AutoTokenizer

from potstill import storage
from potstill.bundle.write import write
from potstill.export.causal import write as export
from potstill.records import Artifact
from potstill.serving.generator import Generator
from potstill.serving.turns import spec_of
from tests import tiny
from tests.bundle.test_bundle import FACTS

from .test_rendering import CHATML

PROBED = [{"prompt": "the good film"}, {"messages": [{"role": "user", "content": "sun or water"}]}]


def writer(folder, *, template=CHATML, **sizes):
    """Write a whole bundle into ``folder``; return it. One without a template goes on from texts alone; ``sizes``: see :func:`tiny.decoder`."""
    made, source = tiny.decoder(folder.with_name(f"{folder.name}-model"), **sizes), folder.with_name(f"{folder.name}-source")
    tokenizer = AutoTokenizer.from_pretrained(made)
    model = AutoModelForCausalLM.from_pretrained(made).eval()
    export(model, spec_of(tokenizer, max_length=64, template=template), tokenizer.backend_tokenizer, source)
    rows = [row for row in PROBED if template or "prompt" in row]
    artifact = Artifact(source, "fp32", storage.size_of(source), storage.sha256_folder(source))
    write(folder, artifact, facts=FACTS, calibration={}, rows=rows, speaker=Generator.open(source), made_from="abc")
    return folder


def slow(folder):
    """One that takes its time: milliseconds a token, thousands of them."""
    return writer(folder, hidden=128, layers=8, context=4096)

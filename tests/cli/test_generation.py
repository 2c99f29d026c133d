"""``potstill predict`` on a language model: it answers prompts and conversations, in a process that has no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from potstill.export.causal import write
from potstill.serving.generator import Generator
from potstill.serving.stream import generate_lines
from potstill.serving.turns import spec_of
from tests import tiny
from tests.serving.test_rendering import CHATML

BLOCKED = ("torch", "transformers", "accelerate", "safetensors", "pyarrow", "onnx", "sklearn", "scipy")
LINES = ["the good film", '{"messages": [{"role": "user", "content": "sun or water"}]}', '{"prompt": "one two three"}', '{"label": "x"}', "late text"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    source, folder = tmp_path_factory.mktemp("decoder"), tmp_path_factory.mktemp("artifact")
    tiny.decoder(source)
    tokenizer = AutoTokenizer.from_pretrained(source)
    write(AutoModelForCausalLM.from_pretrained(source).eval(), spec_of(tokenizer, max_length=64, template=CHATML), tokenizer.backend_tokenizer, folder)
    return folder


def test_it_answers_without_torch(artifact):
    program = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {BLOCKED}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from potstill.cli.main import main\n"
        f"code = main(['predict', {str(artifact)!r}, '--max-tokens', '12'])\n"
        f"assert not set({BLOCKED}) & set(sys.modules)\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], input="\n".join(LINES), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr[-1500:]
    assert "2 lines got no answer" in done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    asked = [{"messages": [{"role": "user", "content": LINES[0]}]}, json.loads(LINES[1]), json.loads(LINES[2])]
    assert said[:3] == [one.as_json() for one in Generator.open(artifact).generate(asked, max_tokens=12)]
    assert [one["line"] for one in said[3:]] == [4, 5]
    assert set(said[0]) == {"completion", "finish", "tokens"}


def test_a_line_goes_to_a_model_of_prompts_as_it_stands(artifact):
    generator = Generator.open(artifact)
    prompts = Generator(**(vars(generator) | {"fields": ("prompt", "completion")}))
    (said,) = generate_lines(prompts, ["the good film"], max_tokens=5)
    assert said == generator.generate([{"prompt": "the good film"}], max_tokens=5)[0].as_json()
    drawn = [next(generate_lines(generator, ["the good film"], max_tokens=9, temperature=1.0, seed=seed))["completion"] for seed in range(4)]
    assert len(set(drawn)) > 1


def test_an_empty_line_is_told_and_holds_up_nothing(artifact):
    said = list(generate_lines(Generator.open(artifact), ["", "sun"], max_tokens=3))
    assert said[0]["line"] == 1
    assert "empty" in said[0]["error"]
    assert said[1]["tokens"] <= 3

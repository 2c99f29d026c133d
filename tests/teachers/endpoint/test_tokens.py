"""A language model behind a real server, asked about each token: what it tells is what the same model here says, as far as its likeliest go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from potstill.errors import StoreError, TeacherError
from potstill.labels import Account, LabelStore, ask
from potstill.labels.tokens import Keep
from potstill.labels.tokens.coders import GivenCoder, positions
from potstill.objectives.tokens.loss import token_loss
from potstill.objectives.tokens.targets import Sparse
from potstill.records import Example, Failed, Head, Usage, Want
from potstill.serving.turns import learnt
from potstill.teachers import build
from potstill.teachers.endpoint.tokens import NoIds, NotTold
from potstill.teachers.endpoint.tokens import positions as told_of
from potstill.training.columns import KeptTokens
from tests import tiny
from tests.teachers.endpoint.clock import Simulated
from tests.teachers.endpoint.made import spec
from tests.teachers.endpoint.serving import counted, server
from tests.teachers.test_causal import opened

HEAD, K = Head("tokens", ()), 20
ROWS = (
    {"text": "the good old dog and the fine small cat"},
    {"prompt": "a good film ", "completion": "was never seen"},
    {"text": "one two three four five " * 6},
)
QUESTION = {"prompt": "a question alone"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("decoder") / "model")


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    return tmp_path_factory.mktemp("count") / "count"


@pytest.fixture(scope="module")
def url(folder, counts):
    with server(folder, count=str(counts)) as address:
        yield address


def rows(fields=(*ROWS, QUESTION)) -> list[Example]:
    return [Example.make(dict(one)) for one in fields]


def teacher(url, folder, **more):
    asked = spec(url, api="completion", tokenizer=str(folder), max_length=32, usd_per_million_in=1.0, **more)
    made = build(asked, HEAD, clock=Simulated())
    made.teach(GivenCoder(Keep(1.0, 0.0, K + 1), made.vocabulary))
    return made


def want(made) -> Want:
    return Want("tokens", coded=made._coder.name)


def expected(folder, some) -> tuple[Sparse, torch.Tensor, list[int]]:
    """The likeliest and the token that stands there, and the mass of the others, of the model itself."""
    local = opened(folder)
    items = local.items(some)
    logits = local.distribution(local.ask(items))
    p = logits.log_softmax(-1)
    own = torch.cat([torch.from_numpy(item["input_ids"][item["learnt"] > 0]) for item in items])
    kept = torch.zeros_like(p, dtype=torch.bool).scatter_(1, p.topk(K).indices, True).scatter_(1, own[:, None], True)
    whole = torch.where(kept, p, torch.tensor(-torch.inf))
    logprobs, ids = whole.topk(K + 1)
    return Sparse(ids, logprobs, 1 - logprobs.exp().sum(-1)), logits, [learnt(item) for item in items]


@pytest.mark.parametrize("body", [{}, {"prompt_logprobs": K, "echo": None, "logprobs": None}], ids=["echo", "prompt_logprobs"])
def test_what_it_tells_is_what_the_model_says(url, folder, tmp_path, body):
    made, some = teacher(url, folder, body=body), rows()
    with LabelStore(tmp_path / "labels") as store:
        answers = ask(made, some, [want(made)], Account(store))
        assert answers.counts == {"answered": 4, "refused": 0, "failed": 0}
        values = answers.arrays([row.id for row in some], want(made))
    exact, logits, counts = expected(folder, some)
    assert positions([value[0].data for value in values]) == counts
    assert counts[-1] == 0
    target = KeptTokens(values, "sparse", made._coder.decode).gather(range(len(some)))
    there = torch.isfinite(target.logprobs)
    assert (there.sum(1) == torch.isfinite(exact.logprobs).sum(1)).all()
    assert float((logits.log_softmax(-1).gather(1, target.ids) - target.logprobs)[there].abs().max()) < 1e-4
    assert torch.allclose(target.tail, exact.tail, atol=1e-4)
    assert float((target.logprobs.double().exp().sum(1) + target.tail).max()) <= 1
    student = torch.randn(len(logits), 16, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(logits.shape[1], 16, generator=torch.Generator().manual_seed(1))
    lost = [float(token_loss(student, type(opened(folder).head)(weight), one).mean) for one in (target, exact)]
    assert lost[0] == pytest.approx(lost[1], rel=1e-4)


def test_the_server_s_own_count_is_what_is_booked_and_nothing_is_asked_twice(url, folder, counts, tmp_path):
    counts.unlink(missing_ok=True)
    made, some = teacher(url, folder), rows()
    with LabelStore(tmp_path / "labels") as store:
        first = ask(made, some, [want(made)], Account(store, run="run"))
        again = ask(teacher(url, folder), some, [want(made)], Account(store, run="run"))
    lines = counted(counts)
    assert len(lines) == 3  # a row of which nothing is learnt costs no call
    assert again.usage.teacher_calls == 0
    assert first.usage.tokens_in == sum(line[1] for line in lines)
    assert first.usage.usd == pytest.approx(first.usage.tokens_in / 1e6)
    assert made.reserve(some[0]).tokens_in == learnt(opened(folder).items(some[:1])[0]) + 1


def test_a_row_that_can_not_be_read_fails_without_a_call(url, folder, counts):
    counts.unlink(missing_ok=True)
    made, bad = teacher(url, folder), Example.make({"text": "\ud800"})
    said = dict(made.answer([bad, *rows()[:1]], [want(made)]))
    assert isinstance(said[bad.id], Failed)
    assert len(counted(counts)) == 1
    assert made.reserve(bad) == Usage(teacher_calls=1)


def test_a_server_that_names_tokens_by_their_text_is_no_use(url, folder):
    made = teacher(url, folder, body={"return_tokens_as_token_ids": None})
    with pytest.raises(TeacherError, match="names a token by its text"):
        dict(made.answer(rows()[:1], [want(made)]))
    made = teacher(url, folder, body={"logprobs": None, "echo": None})
    with pytest.raises(TeacherError, match="echoes no log-probabilities"):
        dict(made.answer(rows()[:1], [want(made)]))


def reply(ids, **changed):
    top = [None, *({"token_id:7": -0.5, "token_id:9": -2.0} for _ in ids[1:])]
    told = {"tokens": [f"token_id:{id}" for id in ids], "token_logprobs": [None, *(-3.0 for _ in ids[1:])], "top_logprobs": top, **changed}
    return {"choices": [{"index": 0, "logprobs": told}]}


def item(ids):
    return {"input_ids": np.array(ids), "learnt": np.array([0, 0, *(1 for _ in ids[2:])]), "window": np.zeros(len(ids), int)}


def test_a_reply_is_read_at_the_places_that_were_sent():
    ids = [4, 5, 6, 8]
    assert told_of(reply(ids), [ids], item(ids), K) == [{7: -0.5, 9: -2.0, 6: -3.0}, {7: -0.5, 9: -2.0, 8: -3.0}]
    with pytest.raises(ValueError, match="not those that were sent"):
        told_of(reply([4, 6, 5, 8]), [ids], item(ids), K)
    with pytest.raises(ValueError, match="0 prompts of 1"):
        told_of({"choices": []}, [ids], item(ids), K)
    with pytest.raises(NoIds):
        told_of(reply(ids, top_logprobs=[None, *({"a": -1.0} for _ in ids[1:])]), [ids], item(ids), K)
    fewer = [None, {"token_id:7": -0.5}, {"token_id:7": -0.5, "token_id:9": None}, {}]
    assert told_of(reply(ids, top_logprobs=fewer), [ids], item(ids), K) == [{7: -0.5, 9: -np.inf, 6: -3.0}, {8: -3.0}]


def test_of_a_position_no_more_is_read_than_was_asked_for_and_the_token_that_stands_there_always():
    ids = [4, 5, 6, 8]
    top = [None, None, {"token_id:7": -0.5, "token_id:9": -2.0, "token_id:6": -3.0}, {"token_id:8": -0.1, "token_id:7": -3.0}]
    assert told_of(reply(ids, top_logprobs=top), [ids], item(ids), 1) == [{7: -0.5, 6: -3.0}, {8: -3.0}]
    for lacking in ([None, -3.0, None, -3.0], [None, -3.0, -3.0, None]):
        with pytest.raises(NotTold, match="which stands in the text"):
            told_of(reply(ids, token_logprobs=lacking), [ids], item(ids), K)


def test_what_can_not_be_is_said(folder):
    for more, told in (
        ({"api": "chat"}, "teacher.api"),
        ({"tokenizer": None}, "teacher.tokenizer"),
        ({"privacy": {}}, "teacher.privacy"),
        ({"batch": {}}, "batch"),
        ({"samples": 3, "scoring": "text", "sampling_temperature": 1.0}, "teacher.scoring"),
    ):
        with pytest.raises(TeacherError, match=told):
            build(spec(**{"api": "completion", "tokenizer": str(folder), **more}), HEAD)
    made = teacher("http://127.0.0.1:1/v1", folder)
    with pytest.raises(TeacherError, match="can't give 'states'"):
        dict(made.answer(rows(), [Want("states")]))
    known = {teacher("http://127.0.0.1:1/v1", folder, **more).identity() for more in ({}, {"top_k": 5}, {"version": "2"}, {"model": "other"})}
    assert len(known) == 4


def test_given_values_are_read_by_their_own_coder_alone():
    coder = GivenCoder(Keep(1.0, 0.0, 4), 100)
    value = coder.given([[5, 7], [99]], [[-0.1, -3.0], [-1.0]])
    found = coder.decode([value, coder.given([], [])])
    assert found["ids"].tolist() == [[5, 7], [99, 0]]
    assert found["tail"] == pytest.approx([1 - np.exp(-0.1) - np.exp(-3.0), 1 - np.exp(-1.0)], abs=1e-5)
    for wrong in (lambda: GivenCoder(Keep(1.0, 0.0, 4), 101).decode([value]), lambda: coder.decode([value[:-1]]), lambda: coder.given([[100]], [[-1.0]])):
        with pytest.raises(StoreError):
            wrong()
    assert coder.decode([])["ids"].shape == (0, 0)

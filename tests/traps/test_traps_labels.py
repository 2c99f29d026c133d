"""Traps in asking a teacher and keeping what it said."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from potstill.errors import TeacherError
from potstill.labels import Account, LabelStore, ask
from potstill.labels.store import key_of
from potstill.records import Example, Failed, Head, Refused, Want
from potstill.teachers import build
from tests import tiny
from tests.labels.fakes import HIDDEN, LOGPROBS, Fake, examples, hidden, logprobs
from tests.labels.processes import POINTS, calls, finish, start

LABELS = ("neg", "neu", "pos")
HEAD = Head("classes", LABELS)
PAIR = {"text": "the movie was awful", "text_pair": "good cat"}


def spec(folder, **options):
    defaults = {
        "kind": "model", "model": str(folder), "max_length": 16, "batch_size": 4, "precision": "fp32", "labels": {}, "license": "mit",
        "output_license": "mit", "usd_per_1000": 0.0,
    }  # fmt: skip
    return SimpleNamespace(**{**defaults, **options})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.classifier(tmp_path_factory.mktemp("model"), LABELS)


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels") as store:
        yield store


def asks(store, teacher, rows, wants=(LOGPROBS,), *, batch_size=256, **account):
    return ask(teacher, rows, list(wants), Account(store, **account), batch_size=batch_size)


def said(teacher, fields, want=LOGPROBS):
    (pair,) = teacher.answer([Example.make(fields)], [want])
    return pair[1].arrays[want]


def test_trap_33_teacher_in_train_mode(folder):
    teacher = build(spec(folder), HEAD)
    first, second = (said(teacher, {"text": "the movie was awful"}) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert teacher.training is False
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())


def permuted(folder, target, order):
    """The same model with its labels in another order: rows of its last layer and id2label move together."""
    shutil.copytree(folder, target)
    weights = load_file(target / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name][order].contiguous()
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    labels = [LABELS[i] for i in order]
    config |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_trap_35_label_order_of_the_teacher(folder, tmp_path):
    texts = ["the movie was awful", "good", "red blood"]
    other = permuted(folder, tmp_path / "other", [2, 0, 1])
    for text in texts:
        plain = said(build(spec(folder), HEAD), {"text": text})
        np.testing.assert_allclose(said(build(spec(other), HEAD), {"text": text}), plain, atol=1e-6)
        turned = said(build(spec(folder), Head("classes", ("pos", "neg", "neu"))), {"text": text})
        np.testing.assert_array_equal(turned, plain[:, [2, 0, 1]])


def test_trap_35_disjoint_labels_are_refused(folder):
    with pytest.raises(TeacherError, match=r"'neg', 'neu', 'pos'.*'0', '1', '2'"):
        build(spec(folder), Head("classes", ("0", "1", "2")))


def test_trap_35_label_order_in_the_store(store):
    rows = examples(5)
    ids = [row.id for row in rows]
    native = ("b", "c", "a")
    first = asks(store, Fake(native, native=native), rows).array(ids, LOGPROBS)
    turned = Fake(("c", "a", "b"), native=native)
    second = asks(store, turned, rows).array(ids, LOGPROBS)
    assert turned.asked == []
    np.testing.assert_array_equal(first, np.concatenate([logprobs(row, 3) for row in rows]))
    np.testing.assert_array_equal(second, first[:, [1, 2, 0]])


def test_trap_40_token_type_ids_of_a_pair(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    inputs = dict(tokenizer(*PAIR.values(), return_tensors="pt"))
    with torch.no_grad():
        alone = model(**inputs).logits.log_softmax(-1).numpy()
        without = model(**{**inputs, "token_type_ids": torch.zeros_like(inputs["token_type_ids"])}).logits.log_softmax(-1).numpy()
    assert np.abs(alone - without).max() > 1e-2  # the segments matter to this model
    np.testing.assert_allclose(said(build(spec(folder), HEAD), PAIR), alone, atol=1e-5)


def test_trap_43_each_row_meets_its_own_answer(store):
    rows = examples(60)
    asks(store, Fake(), rows[10:25], batch_size=4)  # a part is held, as after a kill
    shuffled = [row for row in random.Random(0).sample(rows, len(rows)) if row is not rows[3]]
    answers = asks(store, Fake(), shuffled, [LOGPROBS, HIDDEN], batch_size=7)
    ids = [row.id for row in shuffled]
    np.testing.assert_array_equal(answers.array(ids, LOGPROBS), np.concatenate([logprobs(row) for row in shuffled]))
    for row, array in zip(shuffled, answers.arrays(ids, HIDDEN)):
        np.testing.assert_array_equal(array, hidden(row))
    with LabelStore(store.root) as again:
        answers = asks(again, Fake(), rows, [HIDDEN])
        for row in rows:
            np.testing.assert_array_equal(answers.of(row.id).arrays[HIDDEN], hidden(row))


def changed(folder, target, file, old, new):
    shutil.copytree(folder, target)
    data = (target / file).read_bytes()
    assert old in data
    (target / file).write_bytes(data.replace(old, new, 1))
    return target


def test_trap_44_the_key_holds_every_input(folder, tmp_path):
    weights = shutil.copytree(folder, tmp_path / "weights")
    tensors = load_file(weights / "model.safetensors")
    tensors["classifier.bias"] += 1e-3
    save_file(tensors, weights / "model.safetensors", metadata={"format": "pt"})
    tokenizer = changed(folder, tmp_path / "tokenizer", "tokenizer.json", b'"lowercase": true', b'"lowercase": false')
    config = changed(folder, tmp_path / "config", "config.json", b'"layer_norm_eps": 1e-12', b'"layer_norm_eps": 1e-6')
    renamed = {"neg": "pos", "pos": "neg"}
    teachers = [
        build(spec(folder), HEAD), build(spec(weights), HEAD), build(spec(tokenizer), HEAD), build(spec(config), HEAD),
        build(spec(folder, max_length=15), HEAD), build(spec(folder, precision="bf16"), HEAD), build(spec(folder, labels=renamed), HEAD),
    ]  # fmt: skip
    fields = [{"text": "a"}, {"text": "a "}, {"text": "a", "text_pair": "b"}, {"text": "b", "text_pair": "a"}]
    keys = [key_of(teacher.identity(), teacher.request(Example.make(field))) for teacher in teachers for field in fields]
    assert len(set(keys)) == len(teachers) * len(fields)


def test_trap_44_the_key_holds_nothing_else(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "moved" / "elsewhere")
    (moved / "README.md").write_text("a model card")
    base = build(spec(folder), HEAD)
    turned = Head("classes", LABELS[::-1])
    others = [build(spec(moved), HEAD), build(spec(folder, batch_size=1, license="x", usd_per_1000=1.0), HEAD), build(spec(folder), turned)]
    assert {teacher.identity() for teacher in others} == {base.identity()}
    row = {"text": "a"}
    described = Example.make(row, gold="pos", group="g", place="x:1", columns={"source": "y"})
    assert base.request(described) == base.request(Example.make(row))


def test_trap_44_ten_more_rows_are_ten_calls(store):
    asks(store, Fake(), examples(30))
    teacher = Fake()
    answers = asks(store, teacher, examples(40))
    assert sorted(teacher.asked) == sorted(row.id for row in examples(10, start=30))
    assert (answers.usage.teacher_calls, answers.usage.cached_calls) == (10, 30)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return finish(start(tmp_path_factory.mktemp("undisturbed"), rows=24, batch=6))["content"]


@pytest.mark.parametrize("point", POINTS)
def test_trap_48_killed_at_a_write_point(tmp_path, point, content):
    killed = start(tmp_path, rows=24, batch=6, kill_at=f"{point}:2")
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    whole = len(list((tmp_path / "labels" / "shards").glob("*.arrow"))) // 2  # batches of which both shards are there
    result = finish(start(tmp_path, rows=24, batch=6))
    assert result["content"] == content  # zero lost rows
    assert result["calls"] == 24 - 6 * whole  # nothing durable is asked again
    repeated = sum(n - 1 for n in Counter(calls(tmp_path)).values())
    assert repeated <= result["possibly_paid"] <= 6  # at most the calls in flight, and booked


@pytest.mark.slow
def test_trap_48_killed_at_random_moments(tmp_path, content):
    moments = random.Random(1)
    for _ in range(8):
        process = start(tmp_path, rows=24, batch=6, seconds=0.02)
        time.sleep(moments.uniform(0.25, 0.6))
        process.kill()
        process.communicate()
    result = finish(start(tmp_path, rows=24, batch=6))
    assert result["content"] == content
    assert sum(n - 1 for n in Counter(calls(tmp_path)).values()) <= result["spent"]["possibly_paid"] <= 8 * 6


def test_trap_49_the_teachers_own_count(tmp_path):
    """The count that the teacher keeps itself lies between what was settled and that plus what may have been paid."""
    for point in ("labels.intent.after:2", "labels.shard.before:2", "labels.index.before:1"):
        start(tmp_path, rows=24, batch=6, kill_at=point).communicate(timeout=60)
    spent = finish(start(tmp_path, rows=24, batch=6))["spent"]
    assert spent["calls"] <= len(calls(tmp_path)) <= spent["calls"] + spent["possibly_paid"]
    assert spent["calls"] == 24
    assert spent["in_flight"] == 0


def test_trap_49_failed_calls_are_counted_each_time(store, tmp_path):
    counter = tmp_path / "calls"
    says = {"text number 1": Failed("timeout"), "text number 2": Refused("no")}
    total = sum(asks(store, Fake(says=says, counter=counter), examples(5)).usage.teacher_calls for _ in range(3))
    assert total == len(counter.read_text().splitlines()) == 5 + 1 + 1
    spent = store.spent("")
    assert (spent.calls, spent.failed, spent.possibly_paid, spent.in_flight) == (7, 3, 0, 0)


class Forgetful(Fake):
    """Leaves some questions unanswered, and minds being asked for ever."""

    def answer(self, examples, wants):
        assert len(self.asked) < 100
        return (pair for pair in super().answer(examples, wants) if int(pair[0], 16) % 3)


def test_trap_50_every_row_ends_answered_refused_or_failed(store):
    rows = examples(40)
    rows += rows[:5]
    says = {f"text number {i}": Failed("timeout") for i in (4, 5)} | {"text number 6": Refused("no")}
    answers = asks(store, Forgetful(says=says), rows, batch_size=8)
    kinds = Counter(type(answers.of(row.id)).__name__.lower() for row in rows)
    assert sum(answers.counts.values()) == len(rows)
    assert {kind: n for kind, n in answers.counts.items() if n} == kinds
    assert kinds["failed"] > 2
    assert kinds["answered"] > 2
    assert sorted(answers.answered(row.id for row in rows)) == sorted(row.id for row in rows if hasattr(answers.of(row.id), "arrays"))


def test_trap_51_teacher_calls_equal_rows_used(store):
    rows = examples(20)
    teacher = Fake()
    answers = asks(store, teacher, [*rows, *rows[:7]], [LOGPROBS, HIDDEN, LOGPROBS], batch_size=6)
    assert answers.usage.teacher_calls == len(teacher.asked) == len(rows)
    with pytest.raises(TeacherError, match="vector"):
        asks(store, teacher, examples(5, start=100), [LOGPROBS, Want("vector")])
    assert len(teacher.asked) == len(rows)  # refused before a call was made


def test_trap_51_a_key_of_the_recording_that_means_nothing(tmp_path):
    (tmp_path / "r.jsonl").write_text('{"text": "a", "label": "neg"}\n')
    known = {"kind": "recorded", "path": str(tmp_path / "r.jsonl"), "labels": {}, "name": "r", "license": "x", "output_license": "x"}
    with pytest.raises(TeacherError, match="did you mean 'label'"):
        build(SimpleNamespace(**known, columns={"labl": "label"}), Head("classes", ("neg", "pos")))

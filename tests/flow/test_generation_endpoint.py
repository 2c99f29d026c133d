"""One whole small pipeline whose teacher is a language model behind a real server: from what it tells of each token to a smaller one that ships."""

from __future__ import annotations

import functools
import json
import re
import shutil
from importlib import resources

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import potstill
from potstill.errors import RecipeError, TeacherError, UserError
from potstill.explain import why
from potstill.labels import admin
from potstill.measuring import generation
from potstill.records import Example
from potstill.runlog import RunLog
from potstill.serving.generator import Generator
from tests import tiny
from tests.teachers.endpoint.serving import counted, server
from tests.teachers.test_causal import opened
from tests.written import job, rows

STUDENT = {"name": "small", "kind": "transformer", "from": "start", "layers": 1, "epochs": 8, "batch_size": 8, "learning_rate": 5.0e-3}
TOP = 20


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A job, a home that all runs of this file share, and a server of its teacher."""
    folder = tmp_path_factory.mktemp("told")
    job(folder, train=100, judged=40, steps=100)
    tiny.decoder(folder / "start", layers=1, seed=3)  # knows nothing, and has the teacher's tokenizer
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        patch.setattr(generation, "measure", functools.partial(generation.measure, budget_s=2))
        with server(folder / "teacher", count=str(folder / "count")) as url:
            yield folder, url


@pytest.fixture(autouse=True)
def _home(world, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(world[0] / "home"))


def recipe(world, *, teacher=None, student=None, data=None, **more):
    folder, url = world
    told = yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))
    told["data"] |= {name: str(folder / told["data"][name]) for name in ("train", "validation", "calibration", "test")}
    told["data"] |= data or {}
    section = {
        "kind": "endpoint", "url": url, "model": "smollm2", "tokenizer": str(folder / "teacher"), "max_length": 48, "top_k": TOP, "output_license": "mit",
    }  # fmt: skip
    own = {**STUDENT, "from": str(folder / "start"), **(student or {})}
    return {**told, "teacher": {**section, **(teacher or {})}, "students": [own], **more}


def run(world, name, *, said=None, options=None, **changed):
    log = RunLog(listeners=[lambda event: said.append(event.get("text", ""))] if said is not None else [])
    return potstill.distill(recipe(world, **changed), output=world[0] / "runs" / name, log=log, **(options or {}))


@pytest.fixture(scope="module")
def finished(world):
    said: list[str] = []
    before = len(counted(world[0] / "count"))
    done = run(world, "whole", said=said)
    return done, said, len(counted(world[0] / "count")) - before


def test_the_report_has_the_schema_and_says_what_a_divergence_is_over(finished):
    report = finished[0].report
    jsonschema.validate(report, json.loads(resources.files("potstill.report").joinpath("schema.json").read_text("utf-8")))
    fidelity = report["students"][0]["fidelity"]
    assert fidelity["kl_over"] == "top_and_tail"
    assert 0 < fidelity["kl"] < np.inf
    assert any("a lower bound" in line for line in report["limits"])
    assert report["teacher"]["throughput_per_s"] is None
    assert "behind a server" in report["unmeasured"]["teacher.throughput_per_s"]
    assert report["teacher"]["unanswered"] == 0
    assert any(f"the {TOP} likeliest tokens" in text for text in finished[1])
    assert "a lower bound" in (finished[0].folder / "report.html").read_text("utf-8")


def test_the_server_s_own_count_is_the_ledger_s_and_a_second_run_asks_nothing(world, finished):
    folder, _ = world
    cost = finished[0].report["cost"]
    lines = counted(folder / "count")
    assert cost["teacher_calls"] == finished[2] == sum(finished[0].report["data"][split] for split in ("train", "validation", "calibration", "test"))
    assert cost["tokens_in"] == sum(line[1] for line in lines[: finished[2]])
    again = run(world, "whole").report
    assert again["cost"]["last"]["teacher_calls"] == 0
    assert again["fingerprint"] == finished[0].report["fingerprint"]
    run(world, "offline", options={"offline": True, "until": "label"}, teacher={"url": "http://127.0.0.1:9/v1"})  # all of it is held: no server is needed
    assert len(counted(folder / "count")) == len(lines)


def whole(world):
    """The test rows, and their logits by the teacher itself."""
    local = opened(world[0] / "teacher", max_length=48)
    some = [Example.make(dict(row)) for row in rows(40, 3)]
    return local, some, lambda row: iter([local.distribution(local.ask(local.items([Example.make(dict(row))]))).numpy()])


def test_what_is_measured_by_the_top_is_what_the_whole_distribution_says(world, finished):
    """The teacher's own figures and the agreement are the same; the divergence is a lower bound, and no empty one."""
    local, some, scores = whole(world)
    report, bundle = finished[0].report, Generator.open(finished[0].folder / "bundle")
    beside = bundle.measure([row.fields for row in some], scores)
    told = report["students"][0]["fidelity"]
    assert told["agreement"] == pytest.approx(beside[:, 4].sum() / beside[:, 1].sum())
    full = beside[:, 3].sum() / beside[:, 1].sum()
    assert 0.5 * full < told["kl"] <= full
    items = local.items(some)
    nats = -sum(
        float(local.distribution(local.ask([item])).log_softmax(-1)[range(len(own)), own].sum())
        for item in items
        for own in [torch.from_numpy(item["input_ids"][item["learnt"] > 0])]
    )
    assert report["teacher"]["quality"]["perplexity"] == pytest.approx(np.exp(nats / beside[:, 1].sum()), rel=1e-4)


def test_the_student_learns_what_the_teacher_told(world, finished):
    report, folder = finished[0].report, world[0]
    student = report["students"][0]
    bits = [model["quality"]["bits_per_byte"] for model in (report["teacher"], student, student["control"])]
    assert bits[0] < bits[1] < bits[2] < 8
    assert student["control"]["gain"]["low"] > 0
    answers = {answer["who"]: answer["label"] for answer in why(finished[0].folder, "test.jsonl:1")["answers"]}
    assert all("nats a token" in answers[name] for name in ("teacher", "small", "small.control", "floor"))
    assert student["parameters"] < sum(weights.numel() for weights in load_file(folder / "teacher" / "model.safetensors").values())


# ------------------------------------------------------------------------------------------------------------ at the door
def refused(world, match, **changed):
    """Nothing is asked, or no more than ``calls``, where a recipe is refused."""
    before, calls = len(counted(world[0] / "count")), changed.pop("calls", 0)
    with pytest.raises(changed.pop("error", RecipeError), match=match) as caught:
        run(world, "refused", **changed)
    assert len(counted(world[0] / "count")) - before <= calls
    return str(caught.value)


def test_what_an_endpoint_can_not_teach_is_refused_with_the_remedy(world):
    for source in ("teacher", "scratch"):
        words = refused(world, "can't start from a teacher of kind endpoint", student={"from": source})
        assert "a language model that has the teacher's tokenizer" in words
    refused(world, "api: completion", teacher={"api": "chat"})
    refused(world, "texts are sent as ids", teacher={"tokenizer": None})
    refused(world, "teacher.scoring has no effect", teacher={"scoring": "echo"})
    refused(world, "teacher.prompt has no effect", teacher={"prompt": {"text": "{{text}} it is"}})


def test_a_student_with_another_tokenizer_or_template_is_refused_before_anything_is_asked(world):
    """Same size, two ids swapped."""
    folder = world[0]
    other = shutil.copytree(folder / "start", folder / "swapped", dirs_exist_ok=True)
    told = json.loads((other / "tokenizer.json").read_text("utf-8"))
    (first, one), (second, two) = ((word, told["model"]["vocab"][word]) for word in ("Ġcat", "Ġdog"))
    told["model"]["vocab"] |= {first: two, second: one}
    (other / "tokenizer.json").write_text(json.dumps(told), "utf-8")
    new = {"teacher": {"version": "door"}, "error": TeacherError}
    words = refused(world, "the student's tokenizer is another one", student={"from": str(other)}, **new)
    assert f"{min(one, two)} is" in words
    refused(world, "max_length", student={"max_length": 30}, **new)


def test_a_server_that_tells_no_log_probabilities_ends_the_run_at_its_first_calls(world):
    new = {"error": TeacherError, "calls": 4}
    refused(world, "echoes no log-probabilities", teacher={"body": {"echo": None, "logprobs": None}}, **new)
    refused(world, "names a token by its text", teacher={"body": {"return_tokens_as_token_ids": None}}, **new)


def test_what_it_costs_is_estimated_and_agreed_to_before_it_is_paid(world):
    folder = world[0]
    priced = {"usd_per_million_in": 1.0, "usd_per_million_out": 2.0, "version": "priced"}
    refused(world, "nobody is there to agree", teacher=priced, error=UserError)
    begun, words = len(counted(folder / "count")), []
    done = run(world, "priced", teacher=priced, data={"limit": {"train": 30}}, options={"until": "label", "consent": lambda told: words.append(told) or True})
    assert done.report is None
    new = counted(folder / "count")[begun:]
    assert len({hash for hash, _, _ in new}) == len(new)
    booked = admin.stats(folder / "home" / "labels")["usd"]
    assert booked == pytest.approx(sum(read + 2 * written for _, read, written in new) / 1e6)
    rows, low, high = (float(part) for part in re.search(r"about (\d+) rows will cost .* \(([\d.]+) to ([\d.]+)\)", words[0]).groups())
    assert rows == len(new) - 20 + 40  # the test rows are not asked about yet
    assert low <= booked * rows / len(new) <= high

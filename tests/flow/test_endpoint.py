"""Whole small pipelines over an endpoint: a real server of a tiny language model that was trained to know the labels."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter

import httpx
import jsonschema
import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

import potstill
from potstill.errors import BudgetError, TeacherError, UserError
from potstill.labels import admin
from potstill.measuring import measure
from potstill.report import schema
from potstill.runlog import RunLog
from tests import tiny
from tests.small import job, texts
from tests.teachers.endpoint.filing import desk
from tests.teachers.endpoint.serving import counted, server

KEY = "sk-do-not-find-me-4711"
SAMPLED = {"scoring": "text", "samples": 4, "sampling_temperature": 1.0, "max_new_tokens": 6}
STUDENTS = [{"name": "ngram", "kind": "ngram", "buckets": 1024, "dimensions": 16, "epochs": 4, "learning_rate": 3.0e-2}]
PROMPT = "{{text}} it was"


def taught(folder):
    """A tiny decoder that was trained to go on with a text's label: a language model that knows the job."""
    tiny.decoder(folder, hidden=64)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(0)
    optimizer, rng = torch.optim.AdamW(model.parameters(), lr=3e-3), np.random.default_rng(0)
    rows = texts(1200, seed=9, noise=0.05)
    for step in range(220):
        picked = [rows[i] for i in rng.integers(0, len(rows), 16)]
        batch = tokenizer([f"{row['text']} it was {row['label']}{tiny.END}" for row in picked], padding=True, return_tensors="pt", padding_side="left")
        starts = [len(tokenizer(f" {row['label']}{tiny.END}")["input_ids"]) for row in picked]
        labels = torch.full_like(batch["input_ids"], -100)
        for i, length in enumerate(starts):
            labels[i, -length:] = batch["input_ids"][i, -length:]
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A job, a home that all runs of this file share, and a server that wants a key."""
    folder = tmp_path_factory.mktemp("endpoint")
    job(folder, train=200, pool=60, test=300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        patch.setenv("TEST_ENDPOINT_KEY", KEY)
        patch.setattr(measure, "measure", functools.partial(measure.measure, budget_s=4))
        with server(taught(folder / "decoder"), key=KEY, count=str(folder / "count")) as url:
            yield folder, url


@pytest.fixture(autouse=True)
def _home(world, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(world[0] / "home"))
    monkeypatch.setenv("TEST_ENDPOINT_KEY", KEY)


def section(address, **options):
    plain = {"kind": "endpoint", "url": address, "model": "smollm2", "api_key": "env:TEST_ENDPOINT_KEY", "api": "completion", "output_license": "mit"}
    return {**plain, "prompt": {"text": PROMPT}, "scoring": "echo", **options}


def run(world, name, *, said=None, data=None, requirement=None, teacher=None, **options):
    folder, url = world
    recipe = {**yaml.safe_load((folder / "recipe.yaml").read_text()), "name": name, "students": STUDENTS, "teacher": section(url, **(teacher or {}))}
    recipe["data"] |= data or {}
    recipe["requirement"] |= requirement or {}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    log = RunLog(listeners=[lambda event: said.append(event.get("text", ""))] if said is not None else [])
    return potstill.distill(folder / f"{name}.yaml", output=folder / "runs" / name, log=log, **options)


def test_from_data_to_bundle(world):
    folder, _ = world
    before = len(counted(folder / "count"))
    said = []
    done = run(world, "whole", said=said)
    report = done.report
    jsonschema.validate(report, schema())
    assert report["teacher"]["kind"] == "endpoint"
    assert report["teacher"]["quality"]["accuracy"] > 0.6
    assert report["teacher"]["throughput_per_s"] is None
    assert "behind a server" in report["unmeasured"]["teacher.throughput_per_s"]
    asked = report["cost"]["teacher_calls"]
    assert asked == len(counted(folder / "count")) - before
    assert (done.folder / "bundle" / "manifest.json").is_file()
    again = run(world, "whole").report
    assert again["cost"]["last"]["teacher_calls"] == 0
    assert again["fingerprint"] == report["fingerprint"]
    offline = run(world, "offline", offline=True, teacher={"url": "http://127.0.0.1:9/v1"})  # all of it is held, so no server is needed
    assert offline.report["cost"]["teacher_calls"] == 0
    assert len(counted(folder / "count")) == before + asked


def test_the_key_is_found_nowhere(world, monkeypatch):
    """In no log, store, run folder, page or bundle; nor where the server says it back."""
    folder, _ = world
    run(world, "whole", until="label")
    monkeypatch.setenv("TEST_ENDPOINT_KEY", f"{KEY}-wrong")
    with pytest.raises(TeacherError) as caught:
        run(world, "wrong-key", teacher={"version": "2"})
    assert KEY not in str(caught.value) + caught.value.place + caught.value.remedy
    files = [path for root in (folder / "runs", folder / "home") for path in root.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert b"env:TEST_ENDPOINT_KEY" in next((folder / "runs").rglob("recipe.yaml")).read_bytes()


def test_label_words_are_calibrated_by_what_is_said_of_nothing(world):
    plain = run(world, "plain", until="measure").report
    for how in ("content_free", "validation"):
        found = run(world, f"by-{how}", until="measure", teacher={"calibration": how}).report
        assert found["usage"]["teacher_calls"] == (3 if how == "content_free" else 0)  # of the rows nothing is asked again
        assert found["validation"]["teacher"]["accuracy"] > 0.6
        assert found["validation"]["teacher"]["log_loss"] != plain["validation"]["teacher"]["log_loss"]


def test_samples_give_soft_labels_and_say_how_far_the_teacher_agrees_with_itself(world):
    said = []
    found = run(world, "samples", said=said, until="measure", teacher=SAMPLED).report["teacher"]["self_agreement"]
    assert found["samples"] == 4
    assert 0.5 < found["agreement"] < 1
    assert any("asked 4 times" in text for text in said)


PRICED = {"usd_per_million_in": 1.0, "usd_per_million_out": 2.0}


def test_what_costs_money_is_estimated_and_agreed_to_before_it_is_paid(world):
    folder, _ = world
    teacher, data = {**PRICED, "version": "priced"}, {"unlabeled": None}
    begun = len(counted(folder / "count"))
    with pytest.raises(UserError, match=r"nobody is there to agree(?s:.*)max_cost_usd(?s:.*)--yes"):
        run(world, "alone", teacher=teacher, data=data)
    assert len(counted(folder / "count")) == begun  # nothing at all was asked
    asked = []
    with pytest.raises(UserError, match="it was not agreed to"):
        run(world, "no", teacher=teacher, data=data, consent=lambda words: asked.append(words))
    assert len(counted(folder / "count")) == begun + 20
    assert "rows will cost about" in asked[0]
    with pytest.raises(UserError, match=r"will cost about(?s:.*)max_cost_usd"):
        run(world, "too-little", teacher=teacher, data=data, requirement={"max_cost_usd": 0.001})
    assert len(counted(folder / "count")) == begun + 20  # the probe is held

    done = run(world, "yes", teacher=teacher, data=data, consent=lambda words: True)
    cost = done.report["cost"]
    usd = cost["estimate"]["usd"]
    new = counted(folder / "count")[begun:]
    assert max(Counter(hash for hash, _, _ in new).values()) == 1
    assert len(new) == 20 + cost["teacher_calls"]
    assert cost["tokens_in"] == sum(tokens for _, tokens, _ in new[20:])
    assert cost["usd"] == pytest.approx(sum(i + 2 * o for _, i, o in new[20:]) / 1e6)
    assert usd["low"] <= cost["usd"] <= usd["high"]
    assert (usd["high"] - usd["low"]) / usd["value"] < 0.5
    again = run(world, "yes", teacher=teacher, data=data)  # what was agreed to is not asked about again
    assert again.report["cost"]["usd"] == cost["usd"]
    assert again.report["cost"]["last"]["teacher_calls"] == 0


def test_what_measures_the_label_words_pull_is_estimated_too(world):
    told = []
    for how in ("none", "content_free"):
        teacher = {**PRICED, "version": "pull", "calibration": how}
        with pytest.raises(UserError, match="it was not agreed to"):
            run(world, f"pull-{how}", teacher=teacher, data={"unlabeled": None}, consent=lambda words: told.append(words))
    rows = [int(re.search(r"asking about (\d+) rows", words)[1]) for words in told]
    assert rows[1] - rows[0] == 3


def test_a_run_sends_what_it_knows_to_need_in_one_file_and_single_calls_find_its_answers(world, tmp_path, monkeypatch):
    """Each line of the file is answered by the real server: only the way of asking differs."""
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))

    def worked(body):
        told = httpx.post(f"{world[1]}/completions", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        return told.status_code, told.json()

    with desk(worked, page=50) as there:
        run(world, "by-file", until="label", teacher={"url": there.url, "batch": {"poll_s": 0.05}})
        assert len(there.batches) == 1
        assert max(Counter(there.asked).values()) == 1
        run(world, "by-call", until="label", teacher={"url": there.url}, offline=True)
    stats = admin.stats(tmp_path / "home" / "labels")
    assert stats["calls"] == stats["rows"] == len(there.asked)
    assert stats["tokens_in"] + stats["tokens_out"] == there.tokens


def test_suspect_labels_are_asked_about_again_with_other_shots(world):
    """A gold label that is wrong is suspect; the teacher, asked again, says so: it goes. One that it confirms stays."""
    folder, _ = world
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text("utf-8").splitlines()]
    names = sorted({row["label"] for row in rows})
    turned = [row | {"label": names[(names.index(row["label"]) + 1) % len(names)]} if n % 12 == 0 else row for n, row in enumerate(rows)]
    (folder / "turned.jsonl").write_text("".join(json.dumps(row) + "\n" for row in turned), "utf-8")
    found = run(world, "again", data={"train": "turned.jsonl"}, teacher=SAMPLED, overrides=["suspects=ask", "robustness.arms=[]"])
    told = found.report["data"]["suspects"]
    lines = [json.loads(line) for line in (found.folder / "suspects.jsonl").read_text("utf-8").splitlines()]
    looked = [line for line in lines if line["whose"] != "conflict"]
    assert told["again"]["rows"] == len({line["id"] for line in looked})
    assert told["again"]["confirmed"] + told["again"]["otherwise"] + told["again"]["unanswered"] == len(looked)
    assert told["again"]["otherwise"] > 5
    gone = {line["id"] for line in looked if line["whose"] == "gold" and line["again"] not in (None, line["label"])}
    trained = json.loads(next((found.folder / "stages").glob("train.ngram.control.0-*/result.json")).read_text())
    assert trained["rows"] == found.report["data"]["train"] - len(gone)
    assert "asked again, with other shots" in (found.folder / "report.html").read_text("utf-8")
    jsonschema.validate(found.report, schema())


def test_a_hard_stop_is_one_and_the_run_goes_on_when_it_is_raised(world):
    folder, _ = world
    teacher, begun = {**PRICED, "version": "stopped"}, len(counted(folder / "count"))
    options = {"teacher": teacher, "until": "label", "consent": lambda words: True}
    with pytest.raises(BudgetError, match="answers are there, all of them kept"):
        run(world, "stopped", requirement={"max_cost_usd": 0.01}, **options)
    spent = sum(i + 2 * o for _, i, o in counted(folder / "count")[begun:]) / 1e6
    assert 0.008 < spent <= 0.01
    run(world, "stopped", requirement={"max_cost_usd": 1.0}, **options)
    assert max(Counter(hash for hash, _, _ in counted(folder / "count")[begun:]).values()) == 1
    with pytest.raises(BudgetError, match="max_requests"):
        run(world, "few", teacher={"version": "few", "max_requests": 30}, until="label")
    told = admin.stats(folder / "home" / "labels")
    assert told["usd"] > 0.01
    assert told["tokens_in"] > 1000
    assert told["cached"] > 0

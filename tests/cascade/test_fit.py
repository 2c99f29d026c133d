"""From a bundle and rows to a policy: which rows may fit it, what binds it, what the command says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from potstill import storage
from potstill.bundle.read import digest, manifest
from potstill.cascade.fit import Judged, rows_needed, rule, rules
from potstill.cascade.policy import Limits, Policy, confidence, read, write
from potstill.cascading import Asked, fit
from potstill.dataset.prepare import read_split
from potstill.errors import UserError
from potstill.records import rows_digest
from potstill.serving.predictor import Predictor
from potstill.steps.data import halves
from potstill.steps.judge import seal_inputs
from tests.cascade.small import bundle, jsonl, labelled, texts
from tests.cli.conftest import potstill
from tests.serving.graphs import LABELS
from tests.serving.test_labels import many

__all__ = ["potstill"]


@pytest.fixture
def made(tmp_path):
    return bundle(tmp_path / "tickets")


@pytest.fixture
def rows(tmp_path, made):
    return jsonl(tmp_path / "rows.jsonl", labelled(made, 1500))


def test_a_file_of_fresh_rows_fits_a_policy_that_is_bound_to_the_bundle(made, rows):
    policy = fit(made, Asked(risk=0.05), data=rows)
    assert policy.bundle == digest(manifest(made))
    assert policy.rule.n == 1500
    predictor = Predictor.open(made)
    given = [json.loads(line) for line in rows.read_text().splitlines()]
    sure, told = confidence(predictor, predictor.predict(given))
    keep = sure > policy.rule.threshold
    assert keep.sum() == policy.rule.kept
    assert sum(LABELS[t] != row["label"] for t, row, k in zip(told, given, keep) if k) == policy.rule.wrong
    assert policy.rule.bound <= 0.05
    assert policy.certifies


def test_the_command_writes_policy_and_page_and_tells_the_promise(made, rows, potstill, tmp_path):
    done = potstill("cascade", "fit", made, "--data", rows, "--risk", "0.05", "--usd-per-1000", "2", "--sets", "0.9")
    assert done.code == 0, done.err
    assert "At 95\N{NARROW NO-BREAK SPACE}% confidence, at most 5\N{NARROW NO-BREAK SPACE}% of the answers that are kept are wrong" in done.out
    assert "by the teacher alone" in done.out
    policy = read(tmp_path / "tickets.policy.json", bundle=digest(manifest(made)))
    assert policy.limits.usd_per_1000 == 2
    assert 0 < policy.sets.level < 1
    page = (tmp_path / "tickets.policy.html").read_text()
    assert "Risk against share passed on" in page
    assert "<script" not in page
    again = potstill("cascade", "fit", made, "--data", rows, "--risk", "0.05", "--json")
    assert json.loads(again.out)["rule"]["threshold"] == policy.rule.threshold


def test_too_few_rows_pass_all_on_say_how_many_are_needed_and_exit_with_3(made, tmp_path, potstill):
    few = jsonl(tmp_path / "few.jsonl", labelled(made, 60))
    done = potstill("cascade", "fit", made, "--data", few)
    assert done.code == 3
    assert "every request goes to the teacher" in done.err
    policy = read(tmp_path / "tickets.policy.json")
    assert not policy.certifies
    assert policy.rule.rows_needed >= 99
    assert (tmp_path / "tickets.policy.html").is_file()


def test_each_label_may_have_a_threshold_of_its_own(made, tmp_path):
    rows = jsonl(tmp_path / "many.jsonl", labelled(made, 6000))
    policy = fit(made, Asked(risk=0.05, per_label=True), data=rows)
    assert set(policy.by_label) == set(LABELS)
    assert sum(one.n for one in policy.by_label.values()) == policy.rule.n == 6000
    assert sum(one.kept for one in policy.by_label.values()) == policy.rule.kept > 0
    assert policy.thresholds(LABELS).tolist() == [policy.by_label[label].threshold for label in LABELS]


def test_a_label_without_rows_passes_all_on_and_the_others_stand():
    random = np.random.default_rng(0)
    sure = random.random(2000)
    found, by_label = rules(Judged(sure, random.random(2000) < 0.01, np.zeros(2000, int)), ("a", "b"), risk=0.03, confidence=0.95)
    assert by_label["a"].threshold < 1
    assert by_label["b"].threshold == 1.0
    assert found.kept == by_label["a"].kept


def test_sets_of_labels_are_sure_as_a_whole(tmp_path):
    made = bundle(tmp_path / "many", source=lambda folder, **more: many(folder))
    predictor = Predictor.open(made)
    given = [{"text": text} for text in texts(1200)]
    said = predictor.predict(given)
    sure, told = confidence(predictor, said)
    assert told is None
    assert ((sure > 0) & (sure <= 1)).all()
    gold = [{**row, "labels": labels} for row, labels in zip(given, predictor.decide(said))]
    rows = jsonl(tmp_path / "sets.jsonl", gold)
    policy = fit(made, Asked(), data=rows)
    assert policy.rule.passed_on == 0.0  # never wrong: all are kept
    for asked in (Asked(per_label=True), Asked(coverage=0.9)):
        with pytest.raises(UserError, match="an answer is a set"):
            fit(made, asked, data=rows)


def test_rows_that_cannot_be_used_are_counted_and_unknown_labels_are_named(made, tmp_path):
    good = labelled(made, 300)
    bad = [good[0], {"text": "x"}, {"label": "no"}, {"text": " ", "label": "no"}]
    policy = fit(made, Asked(), data=jsonl(tmp_path / "bad.jsonl", good + bad))
    assert policy.rows.left_out == {"repeated": 1, "no label": 1, "no text": 1, "empty text": 1}
    with pytest.raises(UserError, match="has no label 'mayb'"):
        fit(made, Asked(), data=jsonl(tmp_path / "label.jsonl", [*good, {"text": "new", "label": "mayb"}]))


def test_a_bundle_that_has_left_its_run_needs_a_file(made):
    with pytest.raises(UserError, match="lies in no run"):
        fit(made, Asked())


def in_a_run(tmp_path, count=1200):
    """A run folder as far as the fit reads it."""
    run = tmp_path / "run"
    made = bundle(run / "bundle")
    (run / "report.json").write_text("{}")
    (run / "recipe.yaml").write_text("teacher: {kind: model, usd_per_1000: 3.5}\n")
    data, standing = run / "stages" / "data-0", run / "stages" / "standing-0"
    data.mkdir(parents=True)
    standing.mkdir()
    rows = labelled(made, count)
    from potstill.records import Example

    examples = [Example.make({"text": row["text"]}, gold=row["label"], place=f"rows:{i}") for i, row in enumerate(rows)]
    lines = [{"id": e.id, "fields": dict(e.fields), "gold": e.gold, "group": None, "place": e.place, "columns": {}} for e in examples]
    for name in ("train", "validation", "test", "unlabeled"):
        jsonl(data / f"{name}.jsonl", [])
    jsonl(data / "calibration.jsonl", lines)
    said = np.log(np.full((count, 3), 1e-3, np.float32))
    said[np.arange(count), [LABELS.index(row["label"]) for row in rows]] = -0.01
    said[:7] = np.nan
    np.savez(standing / "validation.npz", calibration=said)
    fingerprint = storage.digest("seal.half", 1, seal_inputs("e" * 64, rows_digest(read_split(data, "calibration"))))
    stages = {data: ("data", "d" * 64), standing: ("standing", "s" * 64)}
    stages |= {run / "stages" / "export.half.distilled.0-0": ("export.half.distilled.0", "e" * 64), run / "stages" / "seal.half-0": ("seal.half", fingerprint)}
    for stage, (name, known) in stages.items():
        storage.write_json(stage / "manifest.json", {"stage": name, "fingerprint": known})
    storage.write_json(run / "stages" / "seal.half-0" / "result.json", {"sha256": manifest(made)["artifact"]})
    return made, examples


def test_a_runs_own_rows_are_the_half_that_fitted_no_temperature(tmp_path):
    made, examples = in_a_run(tmp_path)
    clean = halves(examples)[1]
    policy = fit(made, Asked(risk=0.1))
    assert policy.rule.n == len(clean)
    assert 500 < len(clean) < 700
    against = fit(made, Asked(risk=0.1, against="teacher"))
    unanswered = sum(row.place in {f"rows:{i}" for i in range(7)} for row in clean)
    assert against.rule.n == len(clean) - unanswered
    assert against.rows.left_out == {"no answer to judge by": unanswered}


def test_rows_of_another_recipes_data_fit_nothing(tmp_path):
    """A run folder may hold several data stages, the newest not the bundle's."""
    made, examples = in_a_run(tmp_path)
    stages = tmp_path / "run" / "stages"
    newer = stages / "data-1"
    newer.mkdir()
    for path in (stages / "data-0").iterdir():
        text = path.read_text()
        (newer / path.name).write_text("".join(text.splitlines(keepends=True)[:700]) if path.name == "calibration.jsonl" else text)
    assert fit(made, Asked(risk=0.1)).rule.n == len(halves(examples)[1])
    for path in sorted((stages / "data-0").iterdir(), reverse=True):
        path.unlink()
    with pytest.raises(UserError, match="do not show which calibration rows"):
        fit(made, Asked(risk=0.1))


def test_rows_of_the_run_are_left_out_of_a_file_but_for_the_clean_half(tmp_path, potstill):
    made, examples = in_a_run(tmp_path)
    rows = jsonl(tmp_path / "again.jsonl", [{"text": e.fields["text"], "label": e.gold} for e in examples])
    policy = fit(made, Asked(risk=0.1), data=rows)
    assert policy.rule.n == len(halves(examples)[1])
    assert policy.rows.left_out == {"stands among the rows of the run": len(halves(examples)[0])}
    done = potstill("cascade", "fit", tmp_path / "run", "--risk", "0.1", "--max-usd-per-hour", "2", "--unreachable", "refuse")
    assert done.code == 0, done.err
    limits = read(tmp_path / "run" / "bundle.policy.json").limits
    assert limits == Limits(usd_per_hour=2, usd_per_1000=3.5, unreachable="refuse")


def test_a_policy_of_another_bundle_is_refused(made, rows, tmp_path):
    path = tmp_path / "policy.json"
    write(path, fit(made, Asked(risk=0.05), data=rows))
    other = bundle(tmp_path / "other", temperature=1.3)
    with pytest.raises(UserError, match="of another bundle"):
        read(path, bundle=digest(manifest(other)))
    assert read(path, bundle=digest(manifest(made))).certifies


def test_new_papers_leave_the_digest_and_a_new_model_does_not(made, tmp_path):
    papers = bundle(tmp_path / "papers", rows=[{"text": "other probes"}])
    assert digest(manifest(papers)) == digest(manifest(made))
    assert digest(manifest(bundle(tmp_path / "warm", temperature=1.01))) != digest(manifest(made))


def test_a_damaged_bundle_fits_nothing(made, rows):
    (made / "model.onnx").write_bytes((made / "model.onnx").read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="not as it was shipped"):
        fit(made, Asked(), data=rows)


@pytest.mark.parametrize("broken", ["{", "[]", '{"schema": 1}', '{"schema": 99, "kind": "cascade-policy"}'])
def test_what_is_no_policy_is_said(tmp_path, broken):
    (tmp_path / "p.json").write_text(broken)
    with pytest.raises(UserError):
        read(tmp_path / "p.json")


def test_a_policy_comes_back_as_it_was_written(made, rows, tmp_path):
    policy = fit(made, Asked(risk=0.05, coverage=0.95, per_label=True), data=rows)
    write(tmp_path / "p.json", policy)
    assert read(tmp_path / "p.json") == policy
    assert Policy.model_validate_json((tmp_path / "p.json").read_text()).id == policy.id


@pytest.mark.parametrize("asked", [Asked(risk=0), Asked(confidence=1), Asked(coverage=95)])
def test_a_share_lies_between_0_and_1(made, rows, asked):
    with pytest.raises(UserError, match="no share"):
        fit(made, asked, data=rows)


def test_a_limit_in_dollars_needs_a_price(made, rows, potstill):
    done = potstill("cascade", "fit", made, "--data", rows, "--max-usd-per-hour", "2")
    assert done.code == 2
    assert "needs a price" in done.err


def test_a_student_that_is_wrong_where_it_is_sure_is_not_helped_by_rows():
    wrong = np.arange(2000) % 10 == 0
    found = rule(Judged(np.linspace(1, 0.5, 2000), wrong), risk=0.03, confidence=0.95)
    assert found.threshold == 1.0
    assert found.rows_needed is None
    few = Judged(np.linspace(1, 0.5, 80), np.arange(80) > 40)
    assert rows_needed(few, (), 0.03, 0.05) > 160


def test_rows_needed_are_enough_in_four_of_five_draws():
    """Where the first step failed by bad luck, and where there were too few rows for it."""
    random = np.random.default_rng(0)

    def drawn(n):
        rank = random.random(n)
        return Judged(1 - rank / 2, random.random(n) < 0.01 + 0.1 * rank)

    failed = next(found for found in (rule(drawn(400), risk=0.03, confidence=0.95) for _ in range(1000)) if found.threshold == 1.0 and found.rows_needed)
    assert failed.rows_needed > 400
    needed = 3 * failed.rows_needed  # one draw's estimate is as lucky as the draw
    assert np.mean([rule(drawn(needed), risk=0.03, confidence=0.95).threshold < 1 for _ in range(60)]) > 0.6

"""One whole small pipeline whose rows are texts to be written: from a language model to a smaller one that answers without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources

import jsonschema
import numpy as np
import pyarrow.parquet
import pytest

import potstill
from potstill.bundle.verify import verify
from potstill.cli.tables import standings
from potstill.errors import UserError
from potstill.evaluation.generation import MEASURES
from potstill.explain import diff, why
from potstill.runlog import RunLog
from potstill.serving.generator import Generator
from tests.small import jsonl
from tests.written import job, rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        recipe = job(folder / "job")
        said = []
        run = potstill.distill(recipe, output=folder / "run", log=RunLog(listeners=[said.append]))
        again = potstill.distill(recipe, output=folder / "run")
    return folder, run, [event["text"] for event in said if event.get("text")], again


def student(run):
    return run.report["students"][0]


def test_the_report_has_the_schema_and_every_figure_its_interval(finished):
    _, run, _, _ = finished
    schema = json.loads(resources.files("potstill.report").joinpath("schema.json").read_text("utf-8"))
    jsonschema.validate(run.report, schema)
    told = student(run)
    assert set(told["quality"]) == {"bits_per_byte", "perplexity", "token_accuracy"}
    for found in (told["quality_intervals"]["bits_per_byte"], told["quality_drop"], told["retention"], told["fidelity"], told["control"]["gain"]):
        assert found["low"] <= found.get("value", found.get("agreement")) <= found["high"]
        assert found["n"] == run.report["data"]["test"]
    assert 0 < told["fidelity"]["kl"] < np.inf


def test_the_teacher_stands_above_the_floor_and_the_student_between_it_and_chance(finished):
    _, run, said, _ = finished
    floors = {base["name"]: base["quality"]["bits_per_byte"] for base in run.report["baselines"]}
    teacher, own = run.report["teacher"]["quality"]["bits_per_byte"], student(run)["quality"]["bits_per_byte"]
    assert teacher < floors["bigram"] < floors["uniform over bytes"] == 8
    assert teacher < own < floors["uniform over bytes"]
    assert student(run)["parameters"] < run.report["teacher"]["parameters"]
    assert any(text.startswith("kept as ") for text in said)


def test_a_second_run_asks_nothing_and_finds_the_same(finished):
    _, run, _, again = finished
    assert again.report["cost"]["last"]["teacher_calls"] == 0
    assert again.report["fingerprint"] == run.report["fingerprint"]
    assert run.report["cost"]["teacher_calls"] > 0


def test_the_measures_of_each_test_row_are_written_down(finished):
    folder, run, _, _ = finished
    table = pyarrow.parquet.read_table(folder / "run" / "predictions" / "half.parquet")
    assert set(MEASURES) <= set(table.column_names)
    bits = sum(table["nats"].to_pylist()) / np.log(2) / sum(table["bytes"].to_pylist())
    assert bits == pytest.approx(student(run)["quality"]["bits_per_byte"])


def test_what_ships_is_sound_and_writes_without_torch(finished, tmp_path):
    folder, _, _, _ = finished
    bundle = folder / "run" / "bundle"
    assert verify(bundle, Generator.open) == []
    asked = jsonl(tmp_path / "asked.jsonl", [{"prompt": row["prompt"]} for row in rows(5, seed=9)])
    program = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from potstill.cli.main import main; sys.exit(main(['predict', sys.argv[1], sys.argv[2], '--max-tokens', '12']))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(bundle), str(asked)], capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    own = Generator.open(bundle).generate([{"prompt": row["prompt"]} for row in rows(5, seed=9)], max_tokens=12)
    assert [line["completion"] for line in lines] == [one.text for one in own]  # an answer may be empty: so small a model may end at once
    assert any(line["completion"] for line in lines)


def test_a_row_is_found_again_with_what_everyone_measured(finished):
    folder, _, _, _ = finished
    told = why(folder / "run", "test.jsonl:1")
    assert {answer["who"] for answer in told["answers"]} >= {"teacher", "half", "half.control", "floor"}
    assert all("nats a token" in answer["label"] and answer["right"] is None for answer in told["answers"])
    with pytest.raises(UserError, match="no test rows with gold labels"):
        diff(folder / "run", folder / "run")


def test_the_table_counts_tokens(finished):
    _, run, _, _ = finished
    head = standings(run.report).splitlines()[0]
    assert "tokens/s" in head
    assert "texts/s" not in head


def test_the_page_tells_of_texts_and_not_of_labels(finished):
    folder, _, _, _ = finished
    page = (folder / "run" / "report.html").read_text("utf-8")
    assert "bits per byte" in page
    assert "bigram" in page
    assert "Ship half" in page

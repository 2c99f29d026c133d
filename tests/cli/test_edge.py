"""Errors end as one line and an exit code; interruptions say that the same command goes on; help loads nothing heavy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from potstill import lookup, storage
from potstill.cli.main import VERBS
from potstill.errors import DiskError, SealedError

HEAVY = {
    "torch", "transformers", "sklearn", "pyarrow", "onnx", "onnxruntime", "starlette", "uvicorn", "fastapi", "tokenizers", "scipy", "numpy",
    "pydantic", "yaml",
}  # fmt: skip
FAKE = """
import types
fake = types.ModuleType("potstill.pipeline")
def distill(recipe, *, output, log, offline, fresh, until, consent):
    from pathlib import Path
    log.path = Path("runs/x/events.jsonl")
    {body}
fake.distill = distill
sys.modules["potstill.pipeline"] = fake
"""


def fake(body):
    return FAKE.replace("{body}", body)


def test_help_loads_nothing_heavy_and_lists_the_groups():
    program = (
        "import sys, potstill.cli.main as m\ncode = m.main(['--help'])\n"
        f"print('HEAVY', sorted({{n.partition('.')[0] for n in sys.modules}} & {HEAVY}), 'CODE', code)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "HEAVY [] CODE 0" in result.stdout, result.stdout[-500:] + result.stderr[-500:]
    assert all(f"─ {group} ─" in result.stdout for group in ("Distil", "Choose", "Ship", "Look"))
    for absent in ("search", "compare", "advise", "monitor"):
        assert f"│ {absent} " not in result.stdout


SMALLEST = """
import sys, typer
app = typer.Typer()
for name in "ab":
    app.command(name)(lambda: None)
sys.argv = ["x", "--help"]
app()
"""


def test_help_answers_fast():
    """0.3 s on a quiet machine, where the smallest program of the same library takes 0.2: held as a ratio of processor time, for machines differ."""

    def seconds(*command):
        before = os.times()
        subprocess.run([sys.executable, *command], capture_output=True, timeout=60, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    pairs = [(seconds("-m", "potstill", "--help"), seconds("-c", SMALLEST)) for _ in range(4)]
    own, smallest = (min(side) for side in zip(*pairs))
    assert own < 2 * smallest


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS] + ["store", "store ls", "store stats", "store export", "store gc"])
def test_every_help_has_examples(potstill, verb):
    result = potstill(*verb.split(), "--help")
    assert result.code == 0
    assert verb == "store" or ("Examples" in result.out and f"potstill {verb}" in result.out)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["rn"], "Did you mean 'run'"),
        (["run"], "Missing argument 'RECIPE'"),
        (["run", "x.yaml", "--sett", "a=b"], "No such option: --sett"),
        (["run", "nope.yaml"], "nope.yaml: there is no such recipe"),
        (["predict", "nope"], "no such bundle"),
        (["verify", "nope"], "no such bundle"),
        (["report", "nope"], "no such finished run"),
        (["why", "nope", "abcd"], "no such finished run"),
        (["diff", "nope", "nope"], "no such finished run"),
        (["init", "--task", "text-clasification", "new.yaml"], "text-classification"),
    ],
)
def test_what_users_can_mend_is_one_line_and_2(potstill, recipe, line, words):
    result = potstill(*line)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("potstill: ")
    assert result.err.count("\n") == 1
    assert words in result.err


def test_all_problems_of_a_recipe_are_a_line_each(potstill, recipe):
    result = potstill("run", recipe, "--set", "engine=ray", "--set", "seeds=[]")
    assert result.code == 2
    assert result.err.splitlines()[0] == "potstill: recipe.yaml has 2 problems:"
    assert len(result.err.splitlines()) == 3
    assert "  --set engine=ray: 'ray' comes with a later version; this one knows: local" in result.err


def test_errors_of_ours_keep_their_trace_in_the_log_of_the_run(shell, recipe, tmp_path):
    result = shell("run", recipe, prelude=fake("raise KeyError('boom')"))
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("potstill:")]
    assert len(lines) == 1
    assert "a fault of ours; the trace is in runs/x/events.jsonl; --debug shows it" in lines[0]
    assert "Traceback" not in result.stderr
    assert "Traceback" in (tmp_path / "runs/x/events.jsonl").read_text()
    result = shell("run", recipe, "--debug", prelude=fake("raise KeyError('boom')"))
    assert "Traceback" in result.stderr


def test_without_a_run_the_trace_gets_a_file_of_its_own(potstill, monkeypatch):
    monkeypatch.setattr("potstill.lookup.load", lambda ref: 1 / 0)
    result = potstill("schema")
    assert result.code == 1
    (crash,) = (storage.home() / "crashes").iterdir()
    assert "ZeroDivisionError" in crash.read_text()
    assert str(crash) in result.err


def test_where_no_trace_can_be_written_it_is_shown(potstill, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("potstill.lookup.load", lambda ref: 1 / 0)
    result = potstill("schema")
    assert result.code == 1
    assert "ZeroDivisionError" in result.err.split("\n", 1)[0] or "Traceback" in result.err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DiskError("No space left", place="/x", remedy="free some"), 2, "potstill: /x: No space left; free some\n"),
        (SealedError("looked too early"), 1, "a fault of ours"),
    ],
)
def test_each_error_has_its_exit_code(potstill, monkeypatch, error, code, line):
    def load(ref):
        raise error

    monkeypatch.setattr("potstill.lookup.load", load)
    result = potstill("schema")
    assert result.code == code
    assert line in result.err


def test_a_missing_extra_names_the_command(potstill, monkeypatch):
    def load(ref):
        raise lookup.missing(ModuleNotFoundError(name="torch"))

    monkeypatch.setattr("potstill.lookup.load", load)
    result = potstill("store", "ls")
    assert result.code == 2
    assert result.err == "potstill: this needs 'torch', which is not installed; pip install 'potstill[train]'\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_says_so_and_is_130(shell, recipe, tmp_path, number):
    process = shell("run", recipe, prelude=fake("Path('ready').touch(); import time; time.sleep(60)"), popen=True)
    for _ in range(300):
        if (tmp_path / "ready").exists():
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "potstill: interrupted; the same command goes on where it stopped"
    assert "Traceback" not in err


def test_a_reader_who_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m potstill schema | head -c 10; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr == ""
    assert result.stdout.endswith("0\n")


def test_offline_is_told_to_the_libraries(shell, recipe, tmp_path):
    body = "import os; print(os.environ['HF_HUB_OFFLINE'], os.environ['TRANSFORMERS_OFFLINE'], offline); raise SystemExit(0)"
    result = shell("run", recipe, "--offline", prelude=fake(body), env={"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"})
    assert "1 1 True" in result.stdout


def test_version(potstill):
    from potstill import __version__

    assert potstill("--version").out == f"potstill {__version__}\n"

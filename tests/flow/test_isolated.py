"""A whole run in a process that may reach one place, the teacher's; and, offline, a second one that reaches none."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.flow.test_endpoint import PROMPT, taught
from tests.small import job
from tests.teachers.endpoint.serving import counted, server

ROOT = Path(__file__).parents[2]
STUDENTS = [{"name": "ngram", "kind": "ngram", "buckets": 256, "epochs": 2}]


def watched(folder, name, allowed, arguments):
    """Run our module with every way to the network watched; return the process, and what it reached for."""
    file = folder / f"{name}.watched"
    environment = {
        **os.environ, "WATCHED_FILE": str(file), "WATCHED_ALLOWED": allowed, "POTSTILL_HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "flow" / "watched"), str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False)
    return done, [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("isolated")
    job(folder, train=60, pool=30, test=60)
    with server(taught(folder / "decoder"), count=str(folder / "count")) as url:
        recipe = {**yaml.safe_load((folder / "recipe.yaml").read_text()), "students": STUDENTS}
        recipe["teacher"] = {
            "kind": "endpoint", "url": url, "model": "smollm2", "api": "completion", "scoring": "echo", "output_license": "mit",
            "privacy": {"students": True}, "calibration": "content_free", "prompt": {"text": PROMPT},
        }  # fmt: skip
        recipe["data"] |= {"validation": "test.jsonl", "test": "validation.jsonl"}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
        yield folder, url


def test_the_watch_sees_and_stops_what_is_not_allowed(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        program = (
            f"import socket, subprocess, sys\nfor go in (lambda: socket.create_connection(('127.0.0.1', {port})), lambda: socket.gethostbyname('example.com'),\n"
            f"           lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))):\n"
            "    try: go()\n    except ConnectionRefusedError: pass\n    else: sys.exit(1)\n"
        )
        done, seen = watched(tmp_path, "stopped", "127.0.0.1:1", ["-c", program])
        assert done.returncode == 0, done.stderr
        assert {place for _, place in seen} == {f"127.0.0.1:{port}", "example.com"}
        assert {event for event, _ in seen} >= {"socket.gethostbyname", "socket.sendto"}


def test_a_whole_run_reaches_its_teacher_alone_and_offline_nobody(place):
    folder, url = place
    teacher = url.removeprefix("http://").removesuffix("/v1")
    done, seen = watched(folder, "online", teacher, ["-m", "tests.flow.isolated", "run", str(folder / "recipe.yaml"), "--output", str(folder / "online")])
    assert done.returncode in (0, 3), done.stderr[-2000:]
    report = json.loads((folder / "online" / "report.json").read_text())
    assert {spot for _, spot in seen} == {teacher}
    assert report["cost"]["teacher_calls"] == len(counted(folder / "count")) > 100

    before = len(counted(folder / "count"))
    arguments = ["-m", "tests.flow.isolated", "run", str(folder / "recipe.yaml"), "--output", str(folder / "offline"), "--offline"]
    done, seen = watched(folder, "offline", "nowhere", arguments)
    assert done.returncode in (0, 3), done.stderr[-2000:]
    assert seen == []
    assert len(counted(folder / "count")) == before
    again = json.loads((folder / "offline" / "report.json").read_text())
    assert again["cost"]["teacher_calls"] == 0
    assert [s["quality"] for s in again["students"]] == [s["quality"] for s in report["students"]]

    missing = [*arguments[:-2], str(folder / "missing"), "--offline", "--set", "teacher.version=2"]  # nothing is held of this one
    done, seen = watched(folder, "missing", "nowhere", missing)
    assert done.returncode == 2
    assert "offline, and" in done.stderr
    assert seen == []

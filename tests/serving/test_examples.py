"""The examples of docs/serving.md against a real server; the unit and the Dockerfile say what the server understands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from potstill.cli.main import main
from tests.cascade.small import bundle
from tests.serving.live import serving
from tests.serving.spoken import writer

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "serving.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here: the examples with it were not run")
def test_the_examples_run(tmp_path):
    served = (f"tickets={bundle(tmp_path / 'tickets')}", f"replies={writer(tmp_path / 'replies')}")
    with serving(*served, "--api-key-env", "KEY", folder=tmp_path, env={"KEY": "k"}) as running:
        env = {**os.environ, "URL": running.url, "KEY": "k", "NO_PROXY": "*", "no_proxy": "*"}
        shells = re.findall(r"```sh\n(.*?)```", GUIDE, re.S)
        answers = [json.loads(subprocess.run(["bash", "-ec", shell], env=env, capture_output=True, text=True, check=True).stdout) for shell in shells]
        assert [sorted(answer)[0] for answer in answers] == ["bundle", "bundle", "bundle", "id"]
        assert len(answers[0]["predictions"]) == 2
        assert answers[2]["usage"]["completion_tokens"] == 40
        predicts, streams = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
        said = [subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout for program in (predicts, streams)]
        asked = {"model": "replies", "messages": [{"role": "user", "content": "Name three colors."}], "max_tokens": 40}
        with running.client(headers={"authorization": "Bearer k"}) as client:
            whole = client.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"]
        assert said[1].split() == whole.split()  # print writes a line's end as this system does
        lines = said[0].splitlines()
        assert [line.split()[0] for line in lines] == [one["label"] for one in answers[0]["predictions"]]


def test_options_that_are_named_exist(capsys):
    assert main(["serve", "--help"]) == 0
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    unit = (ROOT / "packaging" / "potstill.service").read_text("utf-8")
    (command,) = re.findall(r"^ExecStart=.*potstill serve (.*)$", unit, re.M)
    docker = (ROOT / "packaging" / "Dockerfile").read_text("utf-8")
    used = set(re.findall(r"(?<![\w-])--[a-z-]+", command + re.search(r"ENTRYPOINT.*", docker)[0]))
    assert used
    assert used <= known
    assert set(re.findall(r"`(--traffic[a-z-]*)", GUIDE)) <= known
    assert re.search(r"^TimeoutStopSec=(\d+)", unit, re.M)[1] > re.search(r"--drain (\d+)", command)[1]  # systemd waits longer than the server drains


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here: the unit was not verified")
def test_the_unit_is_sound(tmp_path):
    unit = (ROOT / "packaging" / "potstill.service").read_text("utf-8").replace("/opt/potstill/bin/potstill", sys.executable)
    (tmp_path / "potstill.service").write_text(unit)
    done = subprocess.run(["systemd-analyze", "verify", str(tmp_path / "potstill.service")], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "potstill.service" in line]
    assert not ours, ours

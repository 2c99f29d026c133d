"""The verbs over a traffic log."""

from __future__ import annotations

import json

from potstill.cli.main import main
from tests.monitoring.test_traffic import answered, kept


def test_stats_and_export_on_the_command_line(tmp_path, capsys):
    path, out = str(tmp_path / "t.db"), tmp_path / "o.jsonl"
    kept(tmp_path / "t.db", answered(["a", "b"], taught=[1]), inputs=True)
    assert main(["traffic", "stats", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["passed_on"] == 0.5
    assert main(["traffic", "stats", path]) == 0
    assert "50.0 %" in capsys.readouterr().out
    assert main(["traffic", "export", path, "--output", str(out)]) == 0
    assert "1 rows are in" in capsys.readouterr().err
    assert json.loads(out.read_text())["label"] == "yes"
    assert main(["traffic", "export", str(tmp_path / "none.db"), "--output", str(out)]) == 2
    assert "no such file" in capsys.readouterr().err

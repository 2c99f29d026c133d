"""Students with the vocabulary that the data uses: smaller, from the recipe to the bundle; the control has the same one."""

from __future__ import annotations

import re

import potstill
from potstill import storage
from tests.small import PLAIN, RECIPE, job

RARE = PLAIN[:6]

AT_MOST = 90
USED = RECIPE.replace("layers: 1, epochs", "layers: 1, vocabulary: used, epochs").replace("dimensions: 16, hidden: 8", f"dimensions: 16, vocabulary: {AT_MOST}")


def test_a_smaller_table_ships(tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))
    objectives = '[{"kind": "logits"}, {"kind": "hidden"}]'
    recipe = job(tmp_path / "job", recipe=USED)
    for name in ("train", "pool"):  # some words are never learnt from
        path = tmp_path / "job" / f"{name}.jsonl"
        path.write_text(re.sub(rf"\b({'|'.join(RARE)})\b", PLAIN[-1], path.read_text()))
    run = potstill.distill(recipe, output=tmp_path / "run", overrides=["robustness.arms=[]", f"students.half.objectives={objectives}"])
    tables = sorted((tmp_path / "run" / "stages").glob("vocabulary.*"))
    counts = [storage.read_json(path / "result.json") for path in tables if (path / "result.json").is_file()]
    sizes = sorted(count["after"] for count in counts)
    assert len({count["before"] for count in counts}) == 1
    assert sizes[:2] == [AT_MOST] * 2
    assert sizes[2] == sizes[3] < counts[0]["before"]
    for student in run.report["students"]:
        assert student["left_out"] == [] or student["name"] != "half"
        config = tmp_path / "run" / "students" / student["name"] / "config.json"
        if student["kind"] == "transformer":
            assert storage.read_json(config)["vocab_size"] == sizes[-1]

"""The model card: what it is, how good, from what, under which licenses, and how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

USE = """\
## Use

```
pip install -r requirements.txt
potstill verify .
echo 'some text' | potstill predict .
```

```python
from pathlib import Path
from potstill.serving.predictor import Predictor

predictor = Predictor.open(Path("."))
print(predictor.decide(predictor.predict([{row}])))
```"""

SPOKEN = (
    USE.split("```python")[0]
    + """\
```python
from pathlib import Path
from potstill.serving.generator import Generator

generator = Generator.open(Path("."))
print(generator.generate([{"messages": [{"role": "user", "content": "..."}]}], max_tokens=64)[0].text)
```"""
)

BEFORE = "This loads the model as it was trained, from the run's `students/` folder. Its answers are those of this bundle before int8 and temperature."


def model_card(facts: Mapping[str, Any]) -> str:
    """Return the card as Markdown with the front matter that model hubs read.

    ``facts``: ``name``, ``task``, ``fields``, ``summary`` (one line: the verdict), ``loader`` (how to load it without potstill,
    Markdown, or None), ``figures`` (rows of what, value, interval, n), ``checks`` (rows of line, required, value, bounds, n,
    status), ``provenance`` and ``limits`` (lines), ``licenses`` ({of what: which}; "teacher weights" becomes the card's own, since
    the student's come from them), ``command`` (that makes it again).
    """
    licenses = facts["licenses"]
    front = {
        "license": licenses.get("teacher weights", "unknown"), "library_name": "potstill", "pipeline_tag": facts["task"],
        "tags": ["potstill", "distillation", "onnx"],
    }  # fmt: skip
    row = "{" + ", ".join(f"{json.dumps(field)}: {json.dumps('...')}" for field in facts["fields"]) + "}"
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {_line(facts['name'])}\n\nA student distilled by potstill for {facts['task']}. {facts['summary']}",
        SPOKEN if facts["task"] == "text-generation" else USE.replace("{row}", row),
        _section("Without potstill", facts.get("loader"), BEFORE),
        _table("How good", ("what", "value", "interval", "n"), facts["figures"]),
        _table("The requirement", ("line", "required", "value", "bounds", "n", "status"), facts["checks"]),
        _list("From what", facts["provenance"]),
        _list("Licenses", [f"{name}: {value}" for name, value in licenses.items()]),
        _list("Limits", facts["limits"]),
        f"## Made by\n\n```\n{facts['command']}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, text: str | None, before: str) -> str:
    """Return ``before`` and the text under a title; the text's own titles go two levels down, fenced code left alone."""
    if not text:
        return ""
    fenced, lines = False, []
    for line in text.strip().splitlines():
        fenced ^= line.startswith("```")
        lines.append(f"##{line}" if line.startswith("#") and not fenced else line)
    return f"## {title}\n\n{before}\n\n" + "\n".join(lines)


def _list(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {_line(line)}" for line in lines) if lines else ""


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *([_line(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _line(text: str) -> str:
    return " ".join(str(text).split())

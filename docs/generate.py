"""Write ``docs/cli.md`` from the commands' own help, and ``docs/openapi.json`` from the server's places.

``--check`` only says whether they are current (exit code 1 where one is not).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from potstill.cli.main import VERBS, build
from potstill.serving.app import serving
from potstill.serving.openapi import document
from potstill.serving.settings import Keys, Settings

PAGE, PLACES = Path(__file__).with_name("cli.md"), Path(__file__).with_name("openapi.json")
HEAD = """# Commands

Written by `docs/generate.py` from the commands' own help; a test holds the two together.

"""


def page() -> str:
    """Return the page."""
    app = typer.main.get_command(build())
    lines = [HEAD + _plain(app.help or ""), ""]
    groups = {verb.name: verb.group for verb in VERBS}
    shown = ""
    for name, command in app.commands.items():  # type: ignore[attr-defined]
        group = groups.get(name, "Look")
        if group != shown:
            lines += [f"## {group}", ""]
            shown = group
        lines += _command(command, f"potstill {name}")
        for below, inner in getattr(command, "commands", {}).items():
            lines += _command(inner, f"potstill {name} {below}")
    return "\n".join(lines).rstrip() + "\n"


def places() -> str:
    """Return the OpenAPI document of a server, whatever it serves."""
    inside = serving(Settings(), Keys(), workers=1, teachers={})
    return json.dumps(document(inside.places), indent=1) + "\n"


def _command(command: Any, path: str) -> Iterator[str]:
    words, _, examples = (command.help or "").partition("[bold]Examples[/bold]")
    arguments = [_argument(p) for p in command.params if p.param_type_name == "argument"]
    yield f"### {path} {' '.join(arguments)}".rstrip()
    yield ""
    yield _plain(words)
    yield ""
    if examples:
        yield "```"
        yield from (line.strip() for line in examples.strip().splitlines() if line.strip())
        yield "```"
        yield ""
    rows = [(f"`{_argument(p)}`" if p.param_type_name == "argument" else _option(p), p.help or "") for p in command.params if p.name != "help"]
    if rows:
        yield "| | |"
        yield "|---|---|"
        yield from (f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in rows)
        yield ""


def _argument(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name).upper()
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def _option(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in parameter.opts)
    if parameter.is_flag:
        return names
    default = f" (default {parameter.default})" if parameter.default not in (None, (), []) else ""
    return f"{names} {parameter.metavar}{default}"


def _plain(text: str) -> str:
    """Return help text as paragraphs on one line each."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()))


def main(arguments: list[str]) -> int:
    made = {PAGE: page(), PLACES: places()}
    if "--check" in arguments:
        return int(any(not path.is_file() or path.read_text("utf-8") != text for path, text in made.items()))
    for path, text in made.items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The verbs of the label store: ls, stats, export, gc."""

from __future__ import annotations

import json as jsonlib
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import lookup, storage
from ..errors import DONE
from . import tables
from .edge import say
from .options import Debug, Json

app = typer.Typer(help="Look at the label store, where every teacher's answers are kept for all runs.", rich_markup_mode="rich", no_args_is_help=True)

Teacher = Annotated[str | None, typer.Option("--teacher", metavar="ID", help="Only this teacher's answers; ls shows the ids.", show_default=False)]


def _admin(name: str) -> Any:
    return lookup.load(f"potstill.labels.admin:{name}")


def _root() -> Path:
    return storage.home() / "labels"


@app.command()
def ls(json: Json = False, debug: Debug = False) -> int:
    """List the teachers whose answers are held.

    [bold]Examples[/bold]

      potstill store ls
      potstill store ls --json
    """
    rows = _admin("ls")(_root())
    if not json:
        rows = [{**row, **{key: time.strftime("%Y-%m-%d %H:%M", time.localtime(row[key])) for key in ("first", "last")}} for row in rows]
    typer.echo(jsonlib.dumps(rows, indent=1) if json else tables.grid(rows, empty=f"the label store in {_root()} is empty"))
    return DONE


@app.command()
def stats(json: Json = False, debug: Debug = False) -> int:
    """Tell how many answers are held, their size, and the calls ever made for them.

    [bold]Examples[/bold]

      potstill store stats
    """
    found = _admin("stats")(_root())
    typer.echo(jsonlib.dumps(found, indent=1) if json else tables.pairs(found))
    return DONE


@app.command()
def export(
    teacher: Annotated[str, typer.Argument(metavar="ID", help="The teacher's id, as ls shows it.", show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write: .jsonl or .parquet.", show_default=False)],
    debug: Debug = False,
) -> int:
    """Write a teacher's answers to a file.

    [bold]Examples[/bold]

      potstill store export 4be1f07a answers.jsonl
    """
    count = _admin("export")(_root(), teacher, file)
    say(f"{count:,} answers are in {file}")
    return DONE


@app.command()
def gc(
    older_than: Annotated[float | None, typer.Option("--older-than", metavar="DAYS", help="Only answers older than that.", show_default=False)] = None,
    teacher: Teacher = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Remove answers; without an option, only what is damaged or half written. The count of test reads is never touched.

    [bold]Examples[/bold]

      potstill store gc --dry-run
      potstill store gc --older-than 90
    """
    found = _admin("gc")(_root(), older_than_days=older_than, teacher=teacher, dry_run=dry_run)
    typer.echo(jsonlib.dumps(found, indent=1) if json else tables.pairs(found))
    return DONE

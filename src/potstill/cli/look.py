"""The verbs that only look: report, why, diff, schema, doctor."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import lookup, storage
from ..errors import DONE
from . import tables
from .edge import folder_of
from .options import Debug, Json, RunFolder

NO_REPORT = "`potstill run RECIPE` writes one; a run that was stopped goes on with the same command"


def report(run: RunFolder, json: Json = False, debug: Debug = False) -> int:
    """Write a run's page again, from its report.json, and name it.

    [bold]Examples[/bold]

      potstill report runs/tickets
      potstill report runs/tickets --json | jq .verdict
    """
    folder = folder_of(run, "report.json", "finished run", NO_REPORT)
    lookup.load("potstill.report.page:write")(folder / "report.json", folder / "report.html")
    if json:
        sys.stdout.write((folder / "report.json").read_text("utf-8"))
    else:
        typer.echo(str(folder / "report.html"))
    return DONE


def why(
    run: RunFolder,
    row: Annotated[str, typer.Argument(metavar="ID", help="The row's id, or its beginning, or its place: test.jsonl:17.", show_default=False)],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Tell one row's whole life: source, duplicates, what everyone said of it, its side in the verdict.

    [bold]Examples[/bold]

      potstill why runs/tickets 3f9a0c
      potstill why runs/tickets test.jsonl:17
    """
    found = lookup.load("potstill.explain:why")(folder_of(run, "report.json", "finished run", NO_REPORT), row)
    typer.echo(jsonlib.dumps(found, indent=1, ensure_ascii=False) if json else tables.life(found))
    return DONE


def diff(
    first: RunFolder,
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another run over the same test rows.", show_default=False)],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Compare two runs row by row: the paired difference of their students, with its interval.

    [bold]Examples[/bold]

      potstill diff runs/tickets runs/two-layers
      potstill diff runs/tickets runs/two-layers --json
    """
    folders = [folder_of(run, "report.json", "finished run", NO_REPORT) for run in (first, second)]
    found = lookup.load("potstill.explain:diff")(*folders)
    typer.echo(jsonlib.dumps(found, indent=1, ensure_ascii=False) if json else tables.difference(found))
    return DONE


def schema(debug: Debug = False) -> int:
    """Write the recipe's JSON schema, for completion in editors.

    [bold]Examples[/bold]

      potstill schema > recipe.schema.json
    """
    typer.echo(jsonlib.dumps(lookup.load("potstill.recipe.schema:schema")(), indent=1))
    return DONE


def doctor(json: Json = False, debug: Debug = False) -> int:
    """Tell what this machine can do: cores, precisions, installed extras, free disk, the label store.

    [bold]Examples[/bold]

      potstill doctor
      potstill doctor --json
    """
    found = lookup.load("potstill.doctor:examine")(Path.cwd(), storage.home())
    typer.echo(jsonlib.dumps(found, indent=1) if json else tables.health(found))
    return DONE

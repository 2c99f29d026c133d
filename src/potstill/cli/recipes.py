"""The verbs of the recipes from the literature: the list of them, show, data."""

from __future__ import annotations

import json as jsonlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import lookup
from ..errors import DONE
from . import tables
from .edge import say
from .options import Debug, Json

app = typer.Typer(rich_markup_mode="rich", invoke_without_command=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The recipe's name.", show_default=False)]
Source = Annotated[Path | None, typer.Option("--from", metavar="DIR", help="Your copy of the set; without it the packaged ICD-10-CM.", show_default=False)]
To = Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Where to write; by default a folder of the recipe's name.", show_default=False)]
Of = Annotated[
    str | None, typer.Option("--set", metavar="SET", help="Another known set than the recipe's: sst2, trec, mr, cr, subj, mpqa.", show_default=False)
]
Rows = Annotated[int | None, typer.Option("--rows", metavar="N", min=1, help="At most so many rows of each part.", show_default=False)]
Unpinned = Annotated[bool, typer.Option("--unpinned", help="Take a copy whose hash is not the known one.")]


def _catalogue(name: str) -> Any:
    return lookup.load(f"potstill.recipes.catalogue:{name}")


@app.callback()
def recipes(context: typer.Context, json: Json = False, debug: Debug = False) -> None:
    """List complete recipes from the literature; show one, or make its data ready to run.

    [bold]Examples[/bold]

      potstill recipes
      potstill recipes --json
    """
    if context.invoked_subcommand is not None:
        return
    rows = [asdict(entry) for entry in _catalogue("entries")()]
    short = [{"recipe": row["name"], "data": row["data"], "what": row["title"]} for row in rows]
    typer.echo(jsonlib.dumps(rows, indent=1, ensure_ascii=False) if json else tables.grid(short, empty="there are no recipes"))


@app.command()
def show(name: Name, debug: Debug = False) -> int:
    """Write a recipe to standard output: its source, what it needs, what it reached, and every choice with its reason.

    [bold]Examples[/bold]

      potstill recipes show distilbert
      potstill recipes show static > recipe.yaml
    """
    typer.echo(_catalogue("text")(name), nl=False)
    return DONE


@app.command()
def data(name: Name, source: Source = None, to: To = None, of: Of = None, rows: Rows = None, unpinned: Unpinned = False, debug: Debug = False) -> int:
    """Make a recipe ready to run: its text, and its rows as JSONL, from your own copy of the data set. Nothing is fetched.

    [bold]Examples[/bold]

      potstill recipes data static
      potstill recipes data distilbert --from ~/sst2 --to runs/sst2
      potstill recipes data ngram --from ~/sent-conv --set subj
    """
    made = _catalogue("write")(name, to or Path(name), source=source, of=of, rows=rows, pinned=not unpinned)
    for warning in made.warnings:
        say(f"note: {warning}")
    typer.echo(tables.grid([{"file": f"{part}.jsonl", "rows": f"{count:,}"} for part, count in made.counts.items()], empty="no rows"))
    say(f"source: {made.source}")
    say(f"license: {made.license}")
    say(f"next: potstill run {made.recipe}")
    return DONE

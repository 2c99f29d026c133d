"""The verbs of a server's traffic log: stats, export."""

from __future__ import annotations

import json as jsonlib
import time
from pathlib import Path
from typing import Annotated

import typer

from .. import lookup
from ..errors import DONE
from . import tables
from .edge import say
from .options import Debug, Json

app = typer.Typer(help="Look at what a server kept of its traffic, and make data of it.", rich_markup_mode="rich", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The file that `potstill serve --traffic` writes.", show_default=False)]


@app.command()
def stats(file: File, json: Json = False, debug: Debug = False) -> int:
    """Tell how many rows are held of each model, who answered them, and what the teacher was paid.

    [bold]Examples[/bold]

      potstill traffic stats traffic.db
    """
    found = lookup.load("potstill.monitoring.look:stats")(file)
    if json:
        typer.echo(jsonlib.dumps(found, indent=1))
        return DONE
    rows = [
        {
            "model": one["model"], "rows": f"{one['rows']:,}", "standing for": f"{one['standing_for']:,.0f}", "passed on": f"{100 * one['passed_on']:.1f} %",
            "flagged": f"{one['flagged']:,.0f}", "with texts": f"{one['with_inputs']:,}", "paid": f"${one['usd']:,.2f}",
            "infer ms": f"{one['infer_ms'] or 0:.2f}",
            "first": _time(one["first"]), "last": _time(one["last"]),
        }
        for one in found["models"]
    ]  # fmt: skip
    typer.echo(tables.grid(rows, empty="no rows are held"))
    typer.echo(f"\n{found['rows']:,} rows, {found['bytes'] / 1e6:,.1f} MB")
    return DONE


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


@app.command()
def export(
    file: File,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write: .jsonl.", show_default=False)],
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="Whose rows, where several models were served.", show_default=False)] = None,
    pool: Annotated[bool, typer.Option("--pool", help="All texts without answers, as a pool for the next round.")] = False,
    debug: Debug = False,
) -> int:
    """Write the rows that the teacher answered, with its answers: what a recorded teacher and data.unlabeled read.

    [bold]Examples[/bold]

      potstill traffic export traffic.db --output answered.jsonl
      potstill traffic export traffic.db --pool --output pool.jsonl --model tickets
    """
    count, missing = lookup.load("potstill.monitoring.look:export")(file, output, model=model, pool=pool)
    say(f"{count:,} rows are in {output}" + (f"; {missing:,} more have no texts, for they were kept without --traffic-inputs" if missing else ""))
    return DONE

"""The options that several verbs share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .edge import edge


def _debug(value: bool) -> bool:
    edge.debug = edge.debug or value
    return value


RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)]
BundleFolder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder, or the run that made it.", show_default=False)]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="The run's folder; by default runs/NAME.", show_default=False)]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe: students.half.layers=2. May be repeated.", show_default=False),
]
Offline = Annotated[bool, typer.Option("--offline", help="Ask no endpoint: work from what is on this machine.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over; the teacher's answers and the count of test reads are kept.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Agree to what the teacher will cost; else it is asked about, or max_cost_usd must be stated.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no words; errors are still shown.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")]
Debug = Annotated[bool, typer.Option("--debug", callback=_debug, help="Show the trace of an error.")]

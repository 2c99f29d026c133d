"""The commands, as a table; and ``main``, where every error ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import typer

from .. import __version__
from . import cascade, distil, look, recipes, serve, ship, store, traffic
from .edge import guarded


class Verb(NamedTuple):
    """One command: its name, the group that help shows it in, the function behind it."""

    name: str
    group: str
    function: Callable[..., Any]


VERBS = (
    Verb("quickstart", "Distil", distil.quickstart),
    Verb("init", "Distil", distil.init),
    Verb("run", "Distil", distil.run),
    Verb("measure", "Distil", distil.measure),
    Verb("label", "Distil", distil.label),
    Verb("train", "Distil", distil.train),
    Verb("export", "Distil", distil.export),
    Verb("evaluate", "Distil", distil.evaluate),
    Verb("diff", "Choose", look.diff),
    Verb("serve", "Ship", serve.serve),
    Verb("predict", "Ship", ship.predict),
    Verb("verify", "Ship", ship.verify),
    Verb("report", "Look", look.report),
    Verb("why", "Look", look.why),
    Verb("schema", "Look", look.schema),
    Verb("doctor", "Look", look.doctor),
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"potstill {__version__}")
        raise typer.Exit


def _top(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False) -> None:
    """Distil a big model into a small one that is good enough for one use, and prove it.

    Exit codes: 0 done, and the requirement is met; 2 yours to mend; 3 not shown to meet the requirement; 1 a fault of ours;
    130 interrupted: the same command goes on.
    """


def build() -> typer.Typer:
    """Return the app."""
    app = typer.Typer(
        name="potstill", callback=_top, rich_markup_mode="rich", pretty_exceptions_enable=False, add_completion=False,
        context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 120}, no_args_is_help=False,
    )  # fmt: skip
    for verb in VERBS:
        app.command(verb.name, rich_help_panel=verb.group)(verb.function)
    app.add_typer(cascade.app, name="cascade", rich_help_panel="Ship")
    app.add_typer(recipes.app, name="recipes", rich_help_panel="Look")
    app.add_typer(store.app, name="store", rich_help_panel="Look")
    app.add_typer(traffic.app, name="traffic", rich_help_panel="Look")
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default that of the process; return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    return guarded(lambda: _invoke(words))


def _invoke(words: list[str]) -> Any:
    """Run the command without typer's own handling of errors, which would eat interruptions and closed pipes."""
    command = typer.main.get_command(build())
    with command.make_context("potstill", words) as context:
        return command.invoke(context)

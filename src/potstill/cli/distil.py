"""The verbs that make a student: quickstart, init, run, and each stage alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import lookup, storage
from ..errors import DONE, UserError
from ..runlog import RunLog
from . import render, tables
from .edge import edge, say
from .options import Debug, Fresh, Json, Offline, Output, Quiet, RecipeFile, Sets, Yes
from .plan import plan_of

OWN_DATA = (  # what of the example's recipe makes no sense with the rows of someone else; a later --set wins
    "data.unlabeled=null", "data.validation=null", "data.calibration=null", "data.test=null", "data.columns={}", "data.limit={}",
    "data.license=unknown",
)  # fmt: skip


def quickstart(output: Output = None, sets: Sets = None, fresh: Fresh = False, quiet: Quiet = False, json: Json = False, debug: Debug = False) -> int:
    """Do the whole job on a built-in example: about eight minutes on two cores.

    Diagnosis texts are sorted into the chapters of ICD-10-CM. Whatever its verdict, it exits with 0.

    [bold]Examples[/bold]

      potstill quickstart
      potstill quickstart --set data.limit.unlabeled=22000 --output runs/more
      potstill quickstart --set data.train=tickets.jsonl
    """
    folder = output or Path("runs/quickstart")
    recipe = lookup.load("potstill.quickstart:write")(folder / "example")
    changes = list(sets or ())
    if any(change.startswith("data.train=") for change in changes):
        changes = [*OWN_DATA, f"name={_slug(folder.name)}", *changes]
    _distil(recipe, folder, changes, fresh=fresh, quiet=quiet, as_json=json)
    return DONE


def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it; - is standard output.")] = Path("recipe.yaml"),
    task: Annotated[str, typer.Option(metavar="TASK", help="What the student shall do.")] = "text-classification",
    debug: Debug = False,
) -> int:
    """Write a commented recipe that runs.

    It names the data that it finds beside FILE and their columns. Where there are none, it writes example rows too.

    [bold]Examples[/bold]

      potstill init
      potstill init tickets.yaml
      potstill init - | less
    """
    made = lookup.load("potstill.cli.start:start")(Path() if str(file) == "-" else file.parent, task, write=str(file) != "-")
    if str(file) == "-":
        typer.echo(made.text, nl=False)
        return DONE
    if file.exists():
        raise UserError("this file is there already", place=str(file), remedy="name another, or remove it first")
    storage.write_text(file, made.text)
    for note in made.notes:
        say(note)
    say(f"{file} is written; next: potstill run {file}")
    return DONE


def run(
    recipe: RecipeFile, output: Output = None, sets: Sets = None, offline: Offline = False, fresh: Fresh = False, yes: Yes = False,
    quiet: Quiet = False, json: Json = False, debug: Debug = False,
) -> int:  # fmt: skip
    """Go the whole way: teacher measured and asked, students trained, exported, judged, bundled, and a page that shows it.

    Stopped, by Ctrl-C or a power cut, the same command goes on where it was. Exits with 3 where no student is shown to meet
    the requirement.

    [bold]Examples[/bold]

      potstill run recipe.yaml
      potstill run recipe.yaml --set students.half.layers=2 --output runs/two-layers
      potstill run recipe.yaml --quiet --json > report.json
    """
    return _distil(recipe, output, sets or (), offline=offline, fresh=fresh, yes=yes, quiet=quiet, as_json=json)


def measure(
    recipe: RecipeFile, output: Output = None, sets: Sets = None, offline: Offline = False, yes: Yes = False, quiet: Quiet = False,
    json: Json = False, debug: Debug = False,
) -> int:  # fmt: skip
    """Measure the teacher before anything is spent: its quality beside the floor's, its speed, the test rows that a verdict needs.

    [bold]Examples[/bold]

      potstill measure recipe.yaml
      potstill measure recipe.yaml --json
    """
    return _distil(recipe, output, sets or (), offline=offline, yes=yes, quiet=quiet, as_json=json, until="measure")


def label(
    recipe: RecipeFile, output: Output = None, sets: Sets = None, offline: Offline = False, yes: Yes = False, quiet: Quiet = False,
    json: Json = False, debug: Debug = False,
) -> int:  # fmt: skip
    """Ask the teacher, and keep its answers in the label store. What was asked before is not asked again.

    [bold]Examples[/bold]

      potstill label recipe.yaml
      potstill label recipe.yaml --set data.limit.unlabeled=500
    """
    return _distil(recipe, output, sets or (), offline=offline, yes=yes, quiet=quiet, as_json=json, until="label")


def train(
    recipe: RecipeFile, output: Output = None, sets: Sets = None, offline: Offline = False, yes: Yes = False, quiet: Quiet = False,
    json: Json = False, debug: Debug = False,
) -> int:  # fmt: skip
    """Train the students, and the control of each.

    [bold]Examples[/bold]

      potstill train recipe.yaml
      potstill train recipe.yaml --set training.batch_size=64
    """
    return _distil(recipe, output, sets or (), offline=offline, yes=yes, quiet=quiet, as_json=json, until="train")


def export(
    recipe: RecipeFile, output: Output = None, sets: Sets = None, offline: Offline = False, yes: Yes = False, quiet: Quiet = False,
    json: Json = False, debug: Debug = False,
) -> int:  # fmt: skip
    """Export the students to the smallest form that loses no quality on validation.

    [bold]Examples[/bold]

      potstill export recipe.yaml
      potstill export recipe.yaml --set export.precision=fp32
    """
    return _distil(recipe, output, sets or (), offline=offline, yes=yes, quiet=quiet, as_json=json, until="export")


def evaluate(
    recipe: RecipeFile, output: Output = None, sets: Sets = None, offline: Offline = False, yes: Yes = False, quiet: Quiet = False,
    json: Json = False, debug: Debug = False,
) -> int:  # fmt: skip
    """Judge the exported students on the test rows. It counts as a read of them, as in run.

    [bold]Examples[/bold]

      potstill evaluate recipe.yaml
      potstill evaluate recipe.yaml --json
    """
    return _distil(recipe, output, sets or (), offline=offline, yes=yes, quiet=quiet, as_json=json, until="evaluate")


def _distil(
    path: Path, output: Path | None, sets: Sequence[str], *, offline: bool = False, fresh: bool = False, yes: bool = False, quiet: bool, as_json: bool,
    until: str | None = None,
) -> int:  # fmt: skip
    """Load the recipe, run the pipeline under a screen, show what came out; return the exit code."""
    _tell_libraries(offline)
    recipe = lookup.load("potstill.recipe.load:load")(path, sets)
    edge.log = log = RunLog()
    with render.screen(log, plan=plan_of(recipe, until), quiet=quiet) as paused:
        for warning in recipe.warnings():
            log.warn(warning)
        done: Any = lookup.load("potstill.pipeline:distill")(
            recipe, output=output, log=log, offline=offline, fresh=fresh, until=until, consent=_consent(yes, paused)
        )
    tables.result(done, as_json=as_json, quiet=quiet, until=until, command=str(path))
    return int(done.exit_code)


def _consent(yes: bool, paused: Callable[[], AbstractContextManager[None]]) -> Callable[[str], bool] | None:
    """Return what asks whether a cost is agreed to: nobody, where there is no terminal to ask in."""
    if yes:
        return lambda words: True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def asked(words: str) -> bool:
        with paused():
            return bool(typer.confirm(words, err=True))

    return asked


def _tell_libraries(offline: bool) -> None:
    """Tell the libraries, before any is imported, to draw no bars into ours; and offline, to ask no hub: potstill never does."""
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if offline:
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1")


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text).strip("-._") or "quickstart"

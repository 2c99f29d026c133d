"""The verbs for what is shipped: predict, verify. Neither needs torch."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

import typer

from .. import lookup, storage
from ..errors import DONE, UNMET, USER, UserError
from .edge import folder_of, joined, say
from .options import BundleFolder, Debug, Json

TOGETHER = 8  # completions at a time: an answer is written when those beside it have ended, too
PredictFile = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Texts, one a line, or JSONL; by default standard input.", show_default=False)]


def predict(
    bundle: BundleFolder,
    file: PredictFile = None,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Threads of ONNX Runtime.")] = 1,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="How many lines are answered together.")] = 64,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, metavar="N", help="A language model's: how many tokens it may say.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, metavar="T", help="A language model's: 0 takes the likeliest token, 1 draws as it is.")] = 0.0,
    top_p: Annotated[float, typer.Option("--top-p", min=0, max=1, metavar="P", help="A language model's: draw of the likeliest that hold P.")] = 1.0,
    seed: Annotated[int, typer.Option(metavar="N", help="A language model's: what is drawn.")] = 0,
    debug: Debug = False,
) -> int:
    """Answer lines: each input line gets one line of JSON, in order.

    A line is a text, or a JSON object with the fields that the bundle names. A language model answers texts, or objects with messages or prompt.

    [bold]Examples[/bold]

      potstill predict runs/tickets/bundle texts.txt
      echo "my card was stolen" | potstill predict runs/tickets/bundle
      potstill predict runs/tickets/bundle rows.jsonl > answers.jsonl
      echo "Name three colors." | potstill predict runs/chat/bundle --max-tokens 64
    """
    folder = bundle_of(bundle)
    if generates(folder):
        generator = lookup.load("potstill.serving.generator:Generator").open(folder, threads=threads)
        options = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
        answers = lookup.load("potstill.serving.stream:generate_lines")(generator, _lines(file), batch=min(batch, TOGETHER), **options)
    else:
        predictor = lookup.load("potstill.serving.predictor:Predictor").open(folder, threads=threads)
        answers = lookup.load("potstill.serving.stream:predict_lines")(predictor, _lines(file), batch=batch)
    bad = 0
    for answer in answers:
        bad += "error" in answer
        typer.echo(jsonlib.dumps(answer, ensure_ascii=False))
    if bad:
        say(f"{bad:,} lines got no answer: their lines of output say why")
    return USER if bad else DONE


def verify(bundle: BundleFolder, json: Json = False, debug: Debug = False) -> int:
    """Check a bundle: every file's hash, and the answers to its stored probes. Exits with 3 on a mismatch.

    [bold]Examples[/bold]

      potstill verify runs/tickets/bundle
      potstill verify runs/tickets/bundle --json
    """
    folder = bundle_of(bundle)
    opened = "generator:Generator" if generates(folder) else "predictor:Predictor"
    problems = lookup.load("potstill.bundle.verify:verify")(folder, lookup.load(f"potstill.serving.{opened}").open)
    if json:
        typer.echo(jsonlib.dumps({"bundle": str(folder), "ok": not problems, "problems": [vars(problem) for problem in problems]}, indent=1))
    for problem in problems:
        say(joined(problem.place, problem.message, problem.remedy))
    if not problems and not json:
        typer.echo(f"{folder}: all files and all probes are as they were shipped")
    return UNMET if problems else DONE


def bundle_of(path: Path) -> Path:
    """Return the bundle's folder: the one given, or that of the run given. What is wrong inside is for whoever opens it to say."""
    if (path / "bundle").is_dir():
        return path / "bundle"
    return path if path.is_dir() else folder_of(path, "manifest.json", "bundle", "`potstill run RECIPE` writes one: runs/NAME/bundle")


def generates(folder: Path) -> bool:
    """Tell whether a bundle's model is a language model; what can't be read is for whoever opens it to say."""
    try:
        return bool(storage.read_json(folder / "artifact.json")["head"].get("kind") == "tokens")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _lines(file: Path | None) -> Iterator[str]:
    """Yield the lines of a file, or of standard input; bytes that are no UTF-8 become the replacement character."""
    if file is None or str(file) == "-":
        if sys.stdin.isatty():
            say("type one text a line; Ctrl-D ends")
        yield from _decoded(sys.stdin.buffer)
        return
    try:
        with file.open("rb") as handle:
            yield from _decoded(handle)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UserError(f"this file can't be read: {error.strerror}", place=str(file)) from error


def _decoded(handle: IO[bytes]) -> Iterator[str]:
    for line in handle:
        yield line.decode("utf-8", "replace").rstrip("\r\n")

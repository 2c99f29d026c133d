"""The verb of the cascade: fit."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import lookup
from ..errors import DONE, UNMET, UserError
from . import tables
from .edge import say
from .options import BundleFolder, Debug, Json
from .ship import bundle_of

app = typer.Typer(help="Let the student answer what it is sure of, and pass the rest on to the teacher.", rich_markup_mode="rich", no_args_is_help=True)

DataFile = Annotated[Path | None, typer.Option("--data", metavar="FILE", help="Labelled rows that the student never saw; by default the run's own.")]
Columns = Annotated[str | None, typer.Option("--columns", metavar="ROLE=COLUMN,...", help="Columns of FILE: text=question,label=intent.")]
Risk = Annotated[float, typer.Option("--risk", metavar="SHARE", help="How many of the answers not passed on may be wrong.")]
Confidence = Annotated[float, typer.Option("--confidence", metavar="SHARE", help="How surely the risk is kept.")]
Against = Annotated[str, typer.Option("--against", metavar="WHOM", help="What an answer is held to: gold, or the teacher's answer.")]
PerLabel = Annotated[bool, typer.Option("--per-label", help="A threshold for each label, the risk kept in each.")]
Sets = Annotated[float | None, typer.Option("--sets", metavar="COVERAGE", help="Tell label sets too, so many of which hold the right label.")]
PerSecond = Annotated[float | None, typer.Option("--max-per-second", metavar="N", help="Pass on at most so many rows a second.")]
PerHour = Annotated[float | None, typer.Option("--max-usd-per-hour", metavar="USD", help="Spend at most so much an hour.")]
Price = Annotated[float | None, typer.Option("--usd-per-1000", metavar="USD", help="What 1,000 of the teacher's answers cost; by default as the run has it.")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="S", help="How long the teacher is waited for.")]
Unreachable = Annotated[str, typer.Option("--unreachable", metavar="WHAT", help="No teacher, or a limit reached: student (flagged), or refuse (503).")]
PolicyFile = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write; by default BUNDLE.policy.json beside the bundle.")]


@app.callback()
def cascade() -> None:
    """Let the student answer what it is sure of, and pass the rest on to the teacher."""


@app.command()
def fit(
    bundle: BundleFolder, data: DataFile = None, columns: Columns = None, risk: Risk = 0.03, confidence: Confidence = 0.95, against: Against = "gold",
    per_label: PerLabel = False, sets: Sets = None, max_per_second: PerSecond = None, max_usd_per_hour: PerHour = None, usd_per_1000: Price = None,
    timeout: Timeout = 10.0, unreachable: Unreachable = "student", output: PolicyFile = None, json: Json = False, debug: Debug = False,
) -> int:  # fmt: skip
    """Fit from which confidence on the student answers alone, so that few of those answers are wrong: a promise, at a stated confidence.

    Rows are needed by which nothing was chosen: half of a run's calibration rows, or a file of your own. Where too few are there to
    promise anything, the policy passes all on, says how many would do, and the exit code is 3.

    [bold]Examples[/bold]

      potstill cascade fit runs/tickets --risk 0.03
      potstill cascade fit bundles/tickets --data labelled.jsonl --columns text=question,label=intent
      potstill cascade fit runs/tickets --against teacher --max-usd-per-hour 2 --unreachable refuse
    """
    for name, value, known in (("against", against, ("gold", "teacher")), ("unreachable", unreachable, ("student", "refuse"))):
        if value not in known:
            raise UserError(f"'{value}' is none of {', '.join(known)}", place=f"--{name}")
    for name, amount in (("max-per-second", max_per_second), ("max-usd-per-hour", max_usd_per_hour), ("timeout", timeout), ("usd-per-1000", usd_per_1000)):
        if amount is not None and not (0 < amount < float("inf") or (amount == 0 and name == "usd-per-1000")):
            raise UserError(f"{amount:g} is no amount", place=f"--{name}", remedy="take a number above 0")
    folder = bundle_of(bundle)
    wiring = "potstill.cascading"
    price = usd_per_1000 if usd_per_1000 is not None else lookup.load(f"{wiring}:price")(folder)
    if max_usd_per_hour is not None and not price:
        raise UserError("a limit in dollars needs a price", place="--max-usd-per-hour", remedy="say what answers cost: --usd-per-1000")
    limits = {"per_second": max_per_second, "usd_per_hour": max_usd_per_hour, "usd_per_1000": price, "timeout_s": timeout, "unreachable": unreachable}
    asked = lookup.load(f"{wiring}:Asked")(risk, confidence, against, per_label, sets, limits)
    policy = lookup.load(f"{wiring}:fit")(folder, asked, data=data, columns=_pairs(columns))
    path = output or folder.with_name(f"{folder.name}.policy.json")
    page = path.with_suffix(".html")
    lookup.load("potstill.cascade.policy:write")(path, policy)
    lookup.load("potstill.report.cascade:write")(path, page)
    told = policy.as_json()
    typer.echo(jsonlib.dumps(told, indent=1, ensure_ascii=False) if json else _shown(told, path, page))
    if not policy.certifies:
        say(lookup.load("potstill.report.cascade:promise")(told))
    return DONE if policy.certifies else UNMET


def _pairs(given: str | None) -> dict[str, str]:
    pairs = [part.partition("=") for part in (given or "").split(",") if part]
    wrong = next((name for name, equals, _ in pairs if not equals), None)
    if wrong is not None:
        raise UserError(f"'{wrong}' names no column", place="--columns", remedy="write role=column: text=question,label=intent")
    return {name.strip(): column.strip() for name, _, column in pairs}


def _shown(policy: Mapping[str, Any], path: Path, page: Path) -> str:
    rule = policy["rule"]
    tried = rule["tried"] if not policy["by_label"] else [{"label": label, **one} for label, one in policy["by_label"].items()]
    rows = [
        {
            **({"label": one["label"]} if "label" in one else {}), "kept above": f"{one['threshold']:.4f}", "kept": one["kept"], "wrong": one["wrong"],
            "bound": "" if one["bound"] is None else f"{100 * one['bound']:.2f} %", "passed on": f"{100 * (1 - one['kept'] / max(1, _of(one, rule))):.1f} %",
            "certified": one.get("certified", one["kept"] > 0),
        }
        for one in tried
    ]  # fmt: skip
    price = policy["limits"]["usd_per_1000"]
    found = {
        "policy": path, "page": page, "rows": f"{rule['n']:,}, {policy['rows']['source']}",
        **{f"left out, {reason}": count for reason, count in policy["rows"]["left_out"].items()},
        "passed on": f"{100 * rule['passed_on']:.1f} % [{100 * rule['passed_on_low']:.1f}, {100 * rule['passed_on_high']:.1f}]",
        **({"a million requests": f"${1000 * price * rule['passed_on']:,.2f}; ${1000 * price:,.2f} by the teacher alone"} if price else {}),
        **({"label sets": f"labels of probability {policy['sets']['level']:.4f} and more"} if policy["sets"] else {}),
    }  # fmt: skip
    promise = lookup.load("potstill.report.cascade:promise")(policy)
    return "\n".join([promise, "", tables.grid(rows, empty="no threshold could be tried"), "", tables.pairs(found)])


def _of(one: Mapping[str, Any], rule: Mapping[str, Any]) -> int:
    return int(one.get("n", rule["n"]))

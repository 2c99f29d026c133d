"""The verb that serves bundles."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import lookup
from ..errors import UserError
from .edge import say
from .options import Debug, Quiet
from .ship import bundle_of, generates

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Bundles = Annotated[
    list[str], typer.Argument(metavar="BUNDLE...", help="Bundles, or the runs that made them; NAME=BUNDLE gives one a name.", show_default=False)
]
Policies = Annotated[list[str] | None, typer.Option("--policy", metavar="[NAME=]FILE", help="A bundle's cascade policy.", show_default=False)]
Teachers = Annotated[
    list[str] | None,
    typer.Option("--teacher", metavar="[NAME=]RUN", help="Who is asked where a policy passes on: a run, or a YAML file of a teacher.", show_default=False),
]
ClientKeys = Annotated[list[str] | None, typer.Option("--api-key-env", metavar="VAR", help="A variable that holds a key of clients.", show_default=False)]
AdminKeys = Annotated[list[str] | None, typer.Option("--admin-key-env", metavar="VAR", help="One that holds a key to swap bundles with.", show_default=False)]
TrafficFile = Annotated[
    Path | None, typer.Option("--traffic", metavar="FILE", help="Keep what is asked and answered there; off by default.", show_default=False)
]
Redact = Annotated[list[str] | None, typer.Option("--traffic-redact", metavar="NAME=REGEX", help="What else is replaced in texts.", show_default=False)]
TrafficKey = Annotated[
    str | None, typer.Option("--traffic-key-env", metavar="VAR", help="A variable with the key of replacements; by default one a start.", show_default=False)
]


def serve(
    bundles: Bundles,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", metavar="PORT", min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    policy: Policies = None,
    teacher: Teachers = None,
    api_key_env: ClientKeys = None,
    admin_key_env: AdminKeys = None,
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="Calls at a time; by default one a core.", show_default=False)] = None,
    batch: Annotated[int | None, typer.Option(min=1, metavar="N", help="Rows in a call; by default measured at the start.", show_default=False)] = None,
    max_queue: Annotated[int, typer.Option(min=1, metavar="N", help="How many rows may wait.")] = 256,
    max_requests: Annotated[int, typer.Option(min=1, metavar="N", help="How many requests may be inside at a time.")] = 512,
    max_wait: Annotated[float, typer.Option(min=0.001, metavar="S", help="How long a row may wait.")] = 1.0,
    timeout: Annotated[float, typer.Option(min=0.001, metavar="S", help="How long a request may take.")] = 30.0,
    max_rows: Annotated[int, typer.Option(min=1, metavar="N", help="Rows of one request.")] = 256,
    max_body: Annotated[int, typer.Option(min=1, metavar="BYTES", help="Bytes of one request.")] = 4_000_000,
    max_chars: Annotated[int, typer.Option(min=1, metavar="N", help="Characters of one text.")] = 100_000,
    drain: Annotated[float, typer.Option(min=0, metavar="S", help="How long requests in flight have after SIGTERM.")] = 30.0,
    log_inputs: Annotated[bool, typer.Option("--log-inputs", help="Write inputs and answers into the log.")] = False,
    open_metrics: Annotated[bool, typer.Option("--open-metrics", help="Let /metrics and the figures of the page be read without a key.")] = False,
    traffic: TrafficFile = None,
    traffic_sample: Annotated[float, typer.Option(min=0, max=1, metavar="SHARE", help="Of rows that the student answers; the teacher's are all kept.")] = 1.0,
    traffic_inputs: Annotated[bool, typer.Option("--traffic-inputs", help="Keep texts, redacted; else only their digests and lengths.")] = False,
    traffic_redact: Redact = None,
    traffic_key_env: TrafficKey = None,
    traffic_days: Annotated[float, typer.Option(min=0, metavar="DAYS", help="How long traffic is kept.")] = 30.0,
    traffic_mb: Annotated[float, typer.Option(min=1, metavar="MB", help="How much of it.")] = 1000.0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Serve bundles over HTTP: many small models in one process, on ONNX Runtime, without torch.

    POST /v1/predict {"inputs": [...]}; the Open Inference Protocol under /v2; OpenAI's shapes at /v1/chat/completions and
    /v1/completions, where language models write, as a stream too; /livez, /readyz, /metrics. A bundle is ready when its stored
    probes were answered as they should. SIGTERM drains.

    [bold]Examples[/bold]

      potstill serve runs/tickets
      potstill serve tickets=runs/tickets spam=bundles/spam --port 8080 --api-key-env POTSTILL_KEY
      potstill serve runs/tickets --policy runs/tickets/bundle.policy.json --teacher runs/tickets
      potstill serve runs/tickets --traffic traffic.db --traffic-inputs --traffic-sample 0.05
    """
    lookup.require("onnxruntime", "starlette", "uvicorn", "prometheus_client")
    folders = _named(bundles)
    names = list(folders)
    policies, asides = _of(policy, names, "--policy"), _of(teacher, names, "--teacher")
    writers = {name for name, folder in folders.items() if generates(folder)}
    for option, given in (("--policy", policies), ("--teacher", asides)):
        if wrong := sorted(writers & set(given)):
            told = f"'{wrong[0]}' writes texts: a cascade passes labels on to a teacher, not texts"
            raise UserError(told, place=f"{option} {given[wrong[0]]}", remedy=f"serve it without {option}")
    served = [lookup.load("potstill.serving.app:Served")(name, folder, policies.get(name)) for name, folder in folders.items()]
    settings = lookup.load("potstill.serving.settings:Settings")(
        host=host, port=port, max_queue=max_queue, max_requests=max_requests, max_wait_s=max_wait, timeout_s=timeout, max_body_bytes=max_body,
        max_rows=max_rows, max_chars=max_chars, workers=workers, batch=batch, drain_s=drain, log_inputs=log_inputs, open_metrics=open_metrics, quiet=quiet,
    )  # fmt: skip
    keys = lookup.load("potstill.serving.settings:keys_from")(api_key_env or (), admin_key_env or ())
    teachers = {name: _command(path, folders[name]) for name, path in asides.items()}
    shown = (lambda text: None) if quiet else say
    for name, folder in folders.items():
        beside = folder.with_name(f"{folder.name}.policy.json")
        if name in teachers and name not in policies:
            shown(f"{name}: without a policy its teacher is never asked; --policy {beside if beside.is_file() else 'FILE, of `potstill cascade fit`'}")
        elif name not in policies and beside.is_file():
            shown(f"{name}: the policy beside the bundle is not used; --policy {beside} uses it")
        if name in writers and traffic is not None:
            shown(f"{name}: what it writes is not kept: the traffic log is of labels")
    kept = None
    if traffic is not None:
        kept = lookup.load("potstill.monitoring.traffic:open_log")(
            traffic, share=traffic_sample, inputs=traffic_inputs, days=traffic_days, megabytes=traffic_mb,
            rules=lookup.load("potstill.redact:rules_from")(traffic_redact or ()),
            key=lookup.load("potstill.serving.settings:key_of")(traffic_key_env) if traffic_key_env else None,
            tell=lambda why: say(f"traffic is not kept: {why}"),
        )  # fmt: skip
    return int(lookup.load("potstill.serving.server:serve")(served, settings, keys, teachers=teachers, traffic=kept, say=shown))


def _named(bundles: Sequence[str]) -> dict[str, Path]:
    """Return name -> folder; a bundle without a name has its folder's, or that of the run around it. Raises :class:`UserError`."""
    found: dict[str, Path] = {}
    for given in bundles:
        name, _, path = given.rpartition("=")
        folder = bundle_of(Path(path))
        name = name or (folder.resolve().parent.name if folder.name == "bundle" else folder.resolve().name)
        if not NAME.fullmatch(name):
            raise UserError(f"'{name}' can't be a model's name", remedy="give it one of letters, digits, '-', '_' and '.': NAME=BUNDLE")
        if name in found:
            raise UserError(f"two bundles are called '{name}'", remedy="give each a name: NAME=BUNDLE")
        found[name] = folder
    return found


def _of(given: Sequence[str] | None, names: Sequence[str], option: str) -> dict[str, Path]:
    """Return name -> path of an option that may name the bundle which it is for. Raises :class:`UserError`."""
    found: dict[str, Path] = {}
    for text in given or ():
        name, _, path = text.rpartition("=")
        if not name and len(names) > 1:
            raise UserError("say which bundle this is for: several are served", place=option, remedy=f"{option} {names[0]}={text}")
        name = name or names[0]
        if name not in names:
            raise UserError(f"no bundle is called '{name}'", place=option, remedy=lookup.did_you_mean(name, names))
        if not Path(path).exists():
            raise UserError("there is no such file or folder", place=f"{option} {path}")
        found[name] = Path(path)
    return found


def _command(path: Path, bundle: Path) -> list[str]:
    """Return the command of the teacher's process: it must know the bundle's labels, for it answers in their order."""
    head: Any = lookup.load("potstill.serving.predictor:describe")(bundle)["head"]
    spec = {"kind": head.get("kind", "classes"), "labels": head["labels"], "threads": 1}
    return [sys.executable, "-m", "potstill.standby", str(path.resolve()), json.dumps(spec)]

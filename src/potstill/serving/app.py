"""The server's places: answers in three protocols, whether it lives and is ready, what it counts, and what is served under which name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from .. import __version__
from . import openapi, page, shapes, written
from .answering import Answering
from .behind import Teacher
from .door import App, Door, Note, Receive, Scope, Send, body_of, log, unless_gone
from .live import Live
from .measures import CONTENT_TYPE, Measures
from .models import NAME, Aliases, Model, Opened, open_beside, open_bundle
from .scheduler import Scheduler
from .settings import Keys, Settings
from .shapes import Bounds, Shape, Wrong
from .tuning import cores
from .writers import Writer
from .writing import Writing
from .written import Form

Handler = Callable[[Request], Awaitable[App]]  # what it returns is the response
TIMEOUT = b"x-timeout-ms"  # a request may ask for less time than the server allows


@dataclass(frozen=True)
class Served:
    """A bundle to serve: the name it stands under, its folder, its policy."""

    name: str
    bundle: Path
    policy: Path | None = None


@dataclass
class Serving:
    """All that a server holds. Made and used in the event loop's thread."""

    settings: Settings
    keys: Keys
    scheduler: Scheduler
    measures: Measures
    aliases: Aliases = field(default_factory=Aliases)
    teachers: dict[str, Teacher] = field(default_factory=dict)
    places: list[tuple[str, str]] = field(default_factory=list)  # method, path: what it can be asked
    ready: bool = False
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.answering = Answering(self.scheduler, self.measures, self.teachers)
        self.live = Live(lambda: self.scheduler.all_waiting)
        self.writing = Writing(self.scheduler, self.measures, self.live, self.settings)
        self.answering.hooks.append(self.live)
        self.door = Door(_straight(_routes(self)), self.settings, self.keys, self.measures, self.live, self.scheduler)
        self.measures.watch("potstill_queue_rows", "Rows that wait.", lambda: self.scheduler.all_waiting)
        self.measures.watch("potstill_running_rows", "Rows that are worked on.", lambda: self.scheduler.all_running)
        self.measures.watch("potstill_requests_inside", "Requests that are not answered yet.", lambda: self.door.inside)

    async def open(self, served: Sequence[Served]) -> list[Opened]:
        """Open bundles, one after the other, and be ready. Raises what :func:`models.open_bundle` does."""
        models = []
        for one in served:
            model = await asyncio.to_thread(open_bundle, one.bundle, policy=one.policy, batch=self.settings.batch, slots=self.scheduler.workers)
            self.aliases.put(one.name, model)
            models.append(model)
            log("opened", model=one.name, digest=model.digest[:12], workers=self.scheduler.workers, measured=model.tuned.told())
        self.ready = True
        self.measures.ready.set(1)
        return models

    async def close(self) -> None:
        await self.answering.close()
        self.scheduler.close()


def serving(settings: Settings, keys: Keys, *, workers: int, teachers: Mapping[str, Teacher]) -> Serving:
    """Return a server's insides, nothing opened yet; its ASGI application is ``door``."""
    scheduler = Scheduler(workers, settings.max_queue, settings.max_wait_s, alone=workers == 1 and cores() == 1)
    return Serving(settings, keys, scheduler, Measures(), teachers=dict(teachers))


async def _nowhere(scope: Any, receive: Any, send: Any) -> None:
    raise Wrong(404, "there is no such place", "try /v1/predict, /v1/models, /v2, /readyz, /metrics")


def _json(value: Any, status: int = 200) -> Response:
    return Response(shapes.dumps(value), status, media_type="application/json")


# ------------------------------------------------------------------------------------------------------------- the places
def _routes(serving: Serving) -> list[Route]:
    table: Sequence[tuple[str, str, Handler]] = (  # looked through from the top: what is asked most stands there
        ("POST", "/v1/predict", _predict(serving, shapes.NATIVE, written.NATIVE)),
        ("GET", "/livez", _live), ("GET", "/v2/health/live", _live), ("GET", "/readyz", _ready(serving)), ("GET", "/v2/health/ready", _ready(serving)),
        ("GET", "/metrics", _metrics(serving)), ("GET", "/", _page), ("GET", "/v1/live", _numbers(serving)),
        ("POST", "/v1/chat/completions", _predict(serving, shapes.CHAT, written.CHAT)),
        ("POST", "/v1/completions", _predict(serving, shapes.COMPLETIONS, written.COMPLETIONS)), ("GET", "/v1/models", _models(serving)),
        ("GET", "/v2", _v2_server), ("GET", "/v2/models/{name}", _v2_model(serving)), ("GET", "/v2/models/{name}/ready", _v2_ready(serving)),
        ("POST", "/v2/models/{name}/infer", _predict(serving, shapes.V2, written.V2)), ("GET", "/v2/models/{name}/versions/{version}", _v2_model(serving)),
        ("GET", "/v2/models/{name}/versions/{version}/ready", _v2_ready(serving)),
        ("POST", "/v2/models/{name}/versions/{version}/infer", _predict(serving, shapes.V2, written.V2)),
        ("GET", "/v1/admin/aliases", _aliases(serving)), ("POST", "/v1/admin/aliases/{name}", _swap(serving)),
        ("POST", "/v1/admin/aliases/{name}/weights", _weights(serving)), ("POST", "/v1/admin/aliases/{name}/back", _back(serving)),
        ("GET", "/openapi.json", _described(serving)),
    )  # fmt: skip
    serving.places = [(method, path) for method, path, _ in table]
    return [Route(path, _Place(method, handler)) for method, path, handler in table]


def _straight(routes: Sequence[Route]) -> App:
    """Return an ASGI application: the place whose whole path was asked for, found at once; any other by the router."""
    router, whole = Router(routes, default=_nowhere), {route.path: route.app for route in routes if "{" not in route.path}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await whole.get(scope["path"], router)(scope, receive, send)

    return app


def _described(serving: Serving) -> Handler:
    async def described(request: Request) -> Response:
        return _json(openapi.document(serving.places))

    return described


@dataclass(frozen=True)
class _Place:
    """A handler as an ASGI application, for one method: any other is told which one, in the request's protocol."""

    method: str
    handler: Handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != self.method and (scope["method"], self.method) != ("HEAD", "GET"):
            raise Wrong(405, "this is not done here", f"use {self.method}", headers={"allow": self.method})
        response = await self.handler(Request(scope, receive))
        await response(scope, receive, send)


async def _live(request: Request) -> Response:
    return Response(b"alive\n", media_type="text/plain")


def _ready(serving: Serving) -> Handler:
    async def ready(request: Request) -> Response:
        if serving.door.stopping or not serving.ready:
            return Response(b"stopping\n" if serving.door.stopping else b"not ready\n", 503, media_type="text/plain")
        return Response(b"ready\n", media_type="text/plain")

    return ready


def _metrics(serving: Serving) -> Handler:
    async def metrics(request: Request) -> Response:
        return Response(serving.measures.text(), headers={"content-type": CONTENT_TYPE})

    return metrics


async def _page(request: Request) -> Response:
    return page.response()


def _numbers(serving: Serving) -> Handler:
    """What the page shows; the folders of bundles are the admin's to see."""

    async def numbers(request: Request) -> Response:
        scheduler, settings, door = serving.scheduler, serving.settings, serving.door
        served = {name: [{key: one[key] for key in ("digest", "weight", "policy")} for one in models] for name, models in serving.aliases.told().items()}
        queue = {
            "rows": scheduler.all_waiting, "most_rows": settings.max_queue, "running": scheduler.all_running,
            "inside": door.inside, "most_inside": settings.max_requests,
        }  # fmt: skip
        state = {"ready": serving.ready, "stopping": door.stopping, "version": __version__}
        return _json({**state, **serving.live.told(), "queue": queue, "names": serving.live.names(), "served": served})

    return numbers


def _predict(serving: Serving, shape: Shape, form: Form) -> Handler:
    """What is asked of a model: ``shape`` is the protocol for one with labels, ``form`` for one that writes."""
    settings = serving.settings
    bounds = Bounds(settings.max_rows, settings.max_chars)

    async def predict(request: Request) -> App:
        note: Note = request.scope["note"]
        within = _within(note, settings.timeout_s)
        if not serving.ready:
            raise Wrong(503, "the server is not ready yet", headers={"retry-after": "1"})
        until = asyncio.get_running_loop().time() + within
        async with asyncio.timeout_at(until):
            body = shapes.parse(await body_of(request, settings.max_body_bytes))
            alias, model = _route(serving, request, shape.model(body))
            note.alias = alias
            if isinstance(model, Writer):
                return await serving.writing.answer(request, form, alias, model, body, until)
            rows = shapes.rows_of(shape.rows(body, model), model.predictor.fields, bounds)
            note.more["rows"] = len(rows)
            found = await unless_gone(request, serving.answering.answer(alias, model, rows, within, note.unread_s))
        note.more |= {f"{part}_ms": round(1000 * took, 3) for part, took in found.seconds.items()}
        note.more["taught"] = sum(one.served_by == "teacher" for one in found.predictions)
        if flags := sorted({one.flag for one in found.predictions if one.flag}):
            note.more["flags"] = flags
        if settings.log_inputs:
            note.more |= {"inputs": rows, "answers": [one.told for one in found.predictions]}
        answer = shape.answer(found, note.id, body)
        if shape.name == "openai" and body.get("stream") is True:
            return Response(shapes.chunks(answer), media_type="text/event-stream")
        return _json(answer)

    return predict


def _within(note: Note, most: float) -> float:
    """Return the seconds that a request has. Raises :class:`Wrong` for a header that is no number of milliseconds."""
    given = note.headers.get(TIMEOUT)
    if given is None:
        return most
    if not (given.isdigit() and 0 < len(given) < 10 and int(given) > 0):
        raise Wrong(400, f"{TIMEOUT.decode()} is no number of milliseconds")
    return min(most, int(given) / 1000)


def _route(serving: Serving, request: Request, named: str | None) -> tuple[str, Opened]:
    alias, model = serving.aliases.route(request.path_params.get("name", named))
    version = request.path_params.get("version")
    if version is None:
        return alias, model
    found = [other for other, _ in serving.aliases.known(alias).models if other.digest[:12] == version]
    if not found:
        raise Wrong(404, "there is no such version", f"served: {', '.join(m.digest[:12] for m, _ in serving.aliases.known(alias).models)}")
    return alias, found[0]


def _models(serving: Serving) -> Handler:
    async def models(request: Request) -> Response:
        told = [{"id": name, "object": "model", "created": 0, "owned_by": "potstill"} for name in sorted(serving.aliases.by_name)]
        return _json({"object": "list", "data": told})

    return models


async def _v2_server(request: Request) -> Response:
    return _json({"name": "potstill", "version": __version__, "extensions": []})


def _v2_model(serving: Serving) -> Handler:
    async def metadata(request: Request) -> Response:
        alias, model = _route(serving, request, None)
        if isinstance(model, Writer):
            raise Wrong(400, "this model writes texts: it has no tensors", "ask it at /v1/completions or /v1/chat/completions")
        return _json(shapes.v2_metadata(alias, model))

    return metadata


def _v2_ready(serving: Serving) -> Handler:
    async def ready(request: Request) -> Response:
        _route(serving, request, None)
        return Response(b"", 200 if serving.ready and not serving.door.stopping else 503)

    return ready


# --------------------------------------------------------------------------------------------------------- what is served
def _aliases(serving: Serving) -> Handler:
    async def aliases(request: Request) -> Response:
        return _json(serving.aliases.told())

    return aliases


def _swap(serving: Serving) -> Handler:
    """{"bundle": folder, "policy": file or none, "weight": share of the requests, by default all}: opened and checked first, then served."""

    async def swap(request: Request) -> Response:
        name, body = request.path_params["name"], shapes.parse(await body_of(request, serving.settings.max_body_bytes))
        bundle, policy, weight = body.get("bundle"), body.get("policy"), body.get("weight", 1.0)
        if not isinstance(bundle, str) or not (policy is None or isinstance(policy, str)) or "\0" in f"{bundle}{policy}":
            raise Wrong(400, "'bundle' is a folder's path, 'policy' a file's or left out")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise Wrong(400, "'weight' is a share from 0 to 1")
        if not NAME.fullmatch(name):
            raise Wrong(400, "this can't be a model's name", "use up to 64 letters, digits, '-', '_' and '.'")
        async with serving.changing:
            try:
                rule = None if policy is None else Path(policy)
                opened = await _beside(serving, name, Path(bundle), rule)
            except Exception as error:  # whatever it is, what is served stays as it was
                raise Wrong(400, f"this bundle can't be served: {str(error).splitlines()[0][:300]}") from error
            _same_kind(serving, name, opened)
            serving.aliases.put(name, opened, float(weight))
            _tidy(serving)
        log("swapped", model=name, served=serving.aliases.told()[name])
        return _json(serving.aliases.told())

    return swap


async def _beside(serving: Serving, name: str, bundle: Path, policy: Path | None) -> Opened:
    """Return a bundle, opened in a thread that ends with it and gives way to those that answer."""
    before = serving.aliases.by_name[name].models[0][0] if name in serving.aliases.by_name else None
    batch, slots = serving.settings.batch, serving.scheduler.workers
    thread = ThreadPoolExecutor(1, thread_name_prefix="open")
    try:
        work = partial(open_beside, bundle, policy=policy, batch=batch, slots=slots, before=before)
        return await asyncio.get_running_loop().run_in_executor(thread, work)
    finally:
        thread.shutdown(wait=False)


def _same_kind(serving: Serving, name: str, opened: Opened) -> None:
    """Raise :class:`Wrong` for a bundle that writes where labels are told, or the other way round; and for one of other labels than the teacher
    behind this name answers in the order of."""
    if name not in serving.aliases.by_name:
        return
    before = serving.aliases.by_name[name].models[0][0]
    if type(before) is not type(opened):
        what = "writes texts, and what is served under this name tells labels" if isinstance(opened, Writer) else "tells labels, and this name's writes texts"
        raise Wrong(400, f"this bundle {what}", "serve it under another name")
    if name not in serving.teachers or not isinstance(before, Model) or not isinstance(opened, Model):
        return
    now = before.predictor
    if (now.kind, now.labels) != (opened.predictor.kind, opened.predictor.labels):
        raise Wrong(400, "this bundle has other labels than the teacher behind this name", "serve it under another name")


def _weights(serving: Serving) -> Handler:
    """{digest: weight}: the beginnings of the digests that stand under the name; what is not named gets nothing."""

    async def weights(request: Request) -> Response:
        body = shapes.parse(await body_of(request, serving.settings.max_body_bytes))
        if not body or not all(isinstance(weight, int | float) and not isinstance(weight, bool) for weight in body.values()):
            raise Wrong(400, "a weight is a number", 'send {"DIGEST": 0.9, "OTHER": 0.1}')
        serving.aliases.weigh(request.path_params["name"], {digest: float(weight) for digest, weight in body.items()})
        log("weighed", model=request.path_params["name"], served=serving.aliases.told()[request.path_params["name"]])
        return _json(serving.aliases.told())

    return weights


def _back(serving: Serving) -> Handler:
    async def back(request: Request) -> Response:
        serving.aliases.back(request.path_params["name"])
        log("went back", model=request.path_params["name"], served=serving.aliases.told()[request.path_params["name"]])
        return _json(serving.aliases.told())

    return back


def _tidy(serving: Serving) -> None:
    """Forget the pace of models that no name leads to any more."""
    held = {id(model) for alias in serving.aliases.by_name.values() for model, _ in (*alias.models, *(alias.before or ()))}
    for known in set(serving.scheduler.row_seconds) - held:
        serving.scheduler.row_seconds.pop(known, None)

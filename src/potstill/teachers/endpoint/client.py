"""One call: a request sent, its reply judged by its status. What is final for all rows is raised, what may pass comes back as :class:`Again`.

The key goes into a header and nowhere else: whatever a server or a library says is cleared of it before it is said on.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple

import httpx

from ...errors import TeacherError
from ...recipe.endpoint import is_loopback
from ...records import Failed, Refused

PATHS = {"chat": "/chat/completions", "completion": "/completions"}
MOST_BYTES = 50_000_000  # of a reply: more is no answer
SHOWN = 200  # characters of what a server says
GO_ON = "then run the same command again: what was answered is kept"


@dataclass(frozen=True)
class Reply:
    """What the server said."""

    body: Mapping[str, Any]


@dataclass(frozen=True)
class Again:
    """No answer this time. ``unsent``: nothing reached the server; ``lost``: it may have worked, and may be paid; ``busy``: it has too
    much to do, and says for how long (``wait`` seconds) where it says so. ``row``: the row itself may be what the server stumbles over."""

    reason: str
    kind: Literal["unsent", "lost", "said", "busy"]
    wait: float | None = None
    row: bool = False


Outcome = Reply | Again | Refused | Failed


class Exchanged(NamedTuple):
    """A reply: its status, its headers, its text."""

    status: int
    headers: Mapping[str, str]
    text: str


class Client:
    """An open connection to one server. ``open`` is checked: https, or loopback, or a private host that the recipe names."""

    def __init__(self, spec: Any) -> None:
        self._spec, self._key = spec, key_of(spec)
        self.url = spec.url + PATHS[spec.api]
        check_address(spec)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=spec.concurrency, max_keepalive_connections=spec.concurrency)
        # trust_env: no proxy, no .netrc and no other key than the one that the recipe names.
        self._http = httpx.Client(timeout=spec.timeout_s, follow_redirects=False, trust_env=False, limits=limits, headers=headers)

    def close(self) -> None:
        self._http.close()

    def call(self, body: Mapping[str, Any]) -> Outcome:
        """Send one request. Raises :class:`TeacherError` for what holds of every row: a wrong key, no such model, no money, a redirect."""
        data = json.dumps(body, ensure_ascii=False).encode()
        found = self.exchange("POST", PATHS[self._spec.api], content=data, headers={"Content-Type": "application/json"})
        return found if isinstance(found, Again) else self.judged(*found)

    def exchange(self, method: str, path: str, *, most: int = MOST_BYTES, within: float | None = None, **more: Any) -> Exchanged | Again:
        """Send a request to ``path`` below the base; return what came back, whatever its status, or how nothing did.

        ``more`` is httpx's. ``within`` seconds (by default the time for one call) a reply must have come whole, however slowly it drips.
        """
        try:
            return self._send(method, self._spec.url + path, most, within or self._spec.timeout_s, more)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return Again(f"no server answers at {self._spec.url}: {self._words(error)}", "unsent")
        except httpx.TimeoutException:
            return Again(f"no answer within {within or self._spec.timeout_s:g} seconds", "lost")
        except (httpx.TransportError, httpx.DecodingError) as error:
            return Again(f"the connection broke: {self._words(error)}", "lost")

    def _send(self, method: str, url: str, most: int, within: float, more: Mapping[str, Any]) -> Exchanged:
        until, parts, size = time.monotonic() + within, [], 0
        with self._http.stream(method, url, timeout=within, **more) as response:
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if time.monotonic() > until:
                    raise httpx.ReadTimeout("it drips")
                if size > most:
                    raise httpx.DecodingError(f"more than {most:,} bytes")
            return Exchanged(response.status_code, response.headers, b"".join(parts).decode("utf-8", "replace"))

    def judged(self, status: int, headers: Mapping[str, str], text: str) -> Outcome:
        """Return what a reply means; raise what it means for every row."""
        return _parsed(text) if status == 200 else self._judged(status, headers, self.told(text), text)

    def _judged(self, status: int, headers: Mapping[str, str], said: str, text: str) -> Outcome:
        """Return what a status other than 200 means, or raise where it means it for every row."""
        words = f"the server said {status}" + (f": {said}" if said else "")
        if 300 <= status < 400:
            where = self._clear(headers.get("location", "elsewhere"))
            raise TeacherError(
                f"{words}, and sends us to {where}; no redirect is followed", place=self._place, remedy="write that address into the recipe: url"
            )
        if status in FINAL:
            raise TeacherError(words, place=self._place, remedy=FINAL[status](self._spec))
        if status == 429 and any(word in text for word in ("insufficient_quota", "billing")):
            raise TeacherError(words, place=self._place, remedy=f"the account is used up: pay or take another key, {GO_ON}")
        if status in (429, 503, 529):
            return Again(words, "busy", _wait(headers))
        if status in (408, 409, 425) or status >= 500:
            return Again(words, "said", _wait(headers), row=status == 500)
        if any(word in text for word in ("content_filter", "content_policy", "content_management")):
            return Refused(f"the server's filter: {said}")
        return Failed(words)

    @property
    def _place(self) -> str:
        return f"teacher.url: {self.url}"

    def told(self, text: str) -> str:
        """Return what an error's body says, for people."""
        try:
            found: Any = json.loads(text)
        except ValueError:
            found = text
        for name in ("error", "message", "detail"):
            found = found.get(name, found) if isinstance(found, dict) else found
        return self._clear(" ".join(str(found).split())[:SHOWN])

    def _words(self, error: Exception) -> str:
        return self._clear((str(error).strip() or type(error).__name__)[:SHOWN])

    def _clear(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _parsed(text: str) -> Outcome:
    try:
        body = json.loads(text)
    except ValueError:
        return Again(f"the reply is no JSON: {' '.join(text.split())[:SHOWN]!r}", "said")
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list) or not body["choices"]:
        return Again(f"the reply has no choices: {' '.join(text.split())[:SHOWN]}", "said")
    return Reply(body)


def _wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a ``Retry-After``, a number or a date; None where there is none that can be read."""
    value = headers.get("retry-after", "")
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _key_remedy(spec: Any) -> str:
    return (
        f"look at the key in {spec.api_key.removeprefix('env:')}"
        if spec.api_key
        else "it wants a key: put it into a variable and name that, api_key: env:MY_KEY"
    )


def _model_remedy(spec: Any) -> str:
    return f"does the server know the model '{spec.model}', and does it answer at {PATHS[spec.api]} (api: {spec.api})? {spec.url}/models lists what it has"


FINAL: Mapping[int, Callable[[Any], str]] = {
    401: _key_remedy, 403: _key_remedy, 404: _model_remedy, 405: _model_remedy,
    402: lambda spec: f"the account is used up: pay or take another key, {GO_ON}",
}  # fmt: skip


def key_of(spec: Any) -> str | None:
    """Return the key, from the environment. Raises :class:`TeacherError` where the variable that the recipe names is empty or can't be a key."""
    if spec.api_key is None:
        return None
    name = spec.api_key.removeprefix("env:")
    value = os.environ.get(name, "").strip()
    if not value:
        raise TeacherError(f"the variable {name} is not set", place="teacher.api_key", remedy=f"export {name}=... in the shell that runs potstill")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise TeacherError(f"what stands in {name} can't be a key", place="teacher.api_key", remedy="it has spaces or letters that no header may have")
    return value


def check_address(spec: Any) -> None:
    """Raise :class:`TeacherError` where the host's name leads to a private address that the recipe does not name.

    A name that can't be resolved is left to the call, which says so.
    """
    if spec.host in spec.private_hosts or is_loopback(spec.host):
        return
    try:
        numbers = {info[4][0] for info in socket.getaddrinfo(spec.host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return
    if inside := sorted(str(number) for number in numbers if not ip_address(str(number).partition("%")[0]).is_global):
        remedy = f"if you mean it, name it: private_hosts: [{spec.host}]"
        raise TeacherError(f"'{spec.host}' leads to {inside[0]}, inside a network", place="teacher.url", remedy=remedy)

"""Requests by the file: sent up, worked through by the server in its own time, fetched when it is done.

OpenAI's protocol, which other providers speak too: POST /files, POST /batches, GET /batches/ID, GET /files/ID/content. A file outlives whoever
sent it: what was sent is remembered by the ledger (:class:`potstill.contracts.Post`), and the next process fetches it, or finds it by its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ...contracts import Post
from ...errors import TeacherError
from ...records import Answer, Example, Failed, Parcel, Usage
from .calls import USAGE, Call, Clock, Done
from .client import GO_ON, PATHS, Again, Client, Exchanged

MOST_BYTES = 100_000_000  # of a file that is sent; servers take twice that
MOST_FETCHED = 2_000_000_000
FILE_SECONDS = 600.0  # within which a file must have gone up or come down
LISTED = 100  # batches on a page
OVER = ("completed", "failed", "expired", "cancelled")
TROUBLE = 10.0  # seconds before a server that could not be reached is asked again
Json = Mapping[str, Any]


@dataclass
class Batches:
    """A loop over the files of one server; the counterpart of :class:`.calls.Calls`.

    ``take`` gives the next row, None where there is none now; ``read`` says what one row's reply means; ``booked`` hears of an attempt that
    failed and is made again in another file.
    """

    take: Callable[[], Example | None]
    call: Callable[[Example], Call]
    read: Callable[[Exchanged, Call], Done | Again]
    booked: Callable[[str, Usage], None]
    post: Post
    client: Client
    spec: Any  # batch, api, retries, patience_s
    clock: Clock
    again: list[Call] = field(default_factory=list)  # to be sent in the next file
    waiting: dict[str, dict[str, Call]] = field(default_factory=dict)  # the server's number of a batch -> its calls by row

    def run(self, left: Sequence[Parcel] = ()) -> Iterator[tuple[str, Answer, Usage]]:
        """Yield an answer for each row that is taken, or had been ``left`` at the server. Raises :class:`TeacherError`."""
        self._take_up(left)
        while self._send_all() or self.waiting:
            for remote in list(self.waiting):
                told = self._status(remote)
                if told is None:
                    self._lost(self.waiting.pop(remote))
                elif told.get("status") in OVER:
                    yield from self._fetched(told, self.waiting.pop(remote))
                else:
                    self.post.progress(_in_words(told, len(self.waiting)))
            if self.waiting:
                self.clock.sleep(self.spec.batch.poll_s)

    def _take_up(self, left: Sequence[Parcel]) -> None:
        for parcel in left:
            calls = {row.id: self.call(row) for row in parcel.rows}
            remote = parcel.remote or self._find(parcel.name)
            if remote is not None:
                self.post.sent(parcel.name, remote)
                self.waiting[remote] = calls
            elif self.spec.batch.metadata:  # it was looked for by its name: none was begun
                self.again += calls.values()
            else:
                self._lost(calls)

    def _lost(self, calls: Mapping[str, Call]) -> None:
        """Send again what the server may have worked through, and may be paid for, in vain."""
        for call in calls.values():
            self.booked(call.id, USAGE["lost"](call))
        self.again += calls.values()

    # -------------------------------------------------------------------------------------------------- up
    def _send_all(self) -> bool:
        """Send as many files as there are rows for; return whether any was sent."""
        sent = False
        while calls := self._some():
            name = self.post.sending([call.id for call in calls])
            remote = self._send(name, calls)
            self.post.sent(name, remote)
            self.waiting[remote] = {call.id: call for call in calls}
            self.post.progress(f"{len(calls):,} rows were sent up")
            sent = True
        return sent

    def _some(self) -> list[Call]:
        """Return what goes into the next file."""
        calls: list[Call] = []
        size = 0
        while len(calls) < self.spec.batch.rows and size < MOST_BYTES:
            call = self.again.pop() if self.again else None
            if call is None:
                row = self.take()
                if row is None:
                    break
                call = self.call(row)
            calls.append(call)
            size += len(self._line(call))
        return calls

    def _line(self, call: Call) -> bytes:
        told = {"custom_id": call.id, "method": "POST", "url": f"/v1{PATHS[self.spec.api]}", "body": call.body}
        return json.dumps(told, ensure_ascii=False).encode() + b"\n"

    def _send(self, name: str, calls: Sequence[Call]) -> str:
        """Send one file and have it worked through; return the server's number of the batch."""
        content = b"".join(self._line(call) for call in calls)
        files = {"file": (f"{name}.jsonl", content, "application/jsonl")}
        kept = self._until(lambda: self.client.exchange("POST", "/files", within=FILE_SECONDS, data={"purpose": "batch"}, files=files))
        asked: dict[str, Any] = {"input_file_id": kept["id"], "endpoint": f"/v1{PATHS[self.spec.api]}", "completion_window": self.spec.batch.window}
        if self.spec.batch.metadata:
            asked["metadata"] = {"potstill": name}
        lost = False

        def begin() -> Exchanged | Again | str:
            """One that may have begun already is looked for before it is begun once more."""
            nonlocal lost
            if lost and (found := self._find(name)):
                return found
            if lost and not self.spec.batch.metadata:
                for call in calls:
                    self.booked(call.id, USAGE["lost"](call))
            told = self.client.exchange("POST", "/batches", json=asked)
            lost = isinstance(told, Again) and told.kind == "lost"
            return told

        made = self._until(begin)
        return made if isinstance(made, str) else str(made["id"])

    def _find(self, name: str) -> str | None:
        """Return the number of the batch that was begun under ``name``; None where none was, or where that can't be known."""
        page = f"/batches?limit={LISTED}"
        while self.spec.batch.metadata:
            told = self._get(page)
            for batch in told.get("data") or ():
                if (batch.get("metadata") or {}).get("potstill") == name:
                    return str(batch["id"])
            if not told.get("has_more") or not told.get("data"):
                break
            page = f"/batches?limit={LISTED}&after={told['data'][-1]['id']}"
        return None

    def _status(self, remote: str) -> Any:
        """Return how far a batch is; None where the server does not know it any more."""
        return self._until(lambda: self.client.exchange("GET", f"/batches/{remote}"), gone=True)

    # ------------------------------------------------------------------------------------------------ down
    def _fetched(self, told: Json, calls: dict[str, Call]) -> Iterator[tuple[str, Answer, Usage]]:
        """Yield what a batch that is over says of its rows; those that it never came to are sent again."""
        if told["status"] == "failed" and not told.get("output_file_id"):
            errors = (told.get("errors") or {}).get("data") or [{}]
            why = TeacherError(f"the server refused the file: {errors[0].get('message', 'it does not say why')}", place=self.place, remedy=NO_BATCH)
            yield from ((id, Failed(why.message), Usage()) for id in calls)
            raise why
        whole, end = True, None
        for line in self._lines(told):
            call = calls.pop(str(line.get("custom_id")), None)
            if call is None:
                whole = False  # of a row that nobody asks about now: it stays there for who does
                continue
            try:
                yield from self._judged(call, self._row(line, call))
            except TeacherError as error:
                end = end or error
                yield call.id, Failed(error.message), USAGE["said"](call)
        for call in calls.values():
            yield from self._judged(call, Again(f"the server had not come to it when the batch was {told['status']}", "unsent"))
        if end is not None:
            raise end
        if whole:
            self._forget(told)

    def _lines(self, told: Json) -> Iterator[Json]:
        for name in ("output_file_id", "error_file_id"):
            if told.get(name):
                path = f"/files/{told[name]}/content"
                text = self._until(partial(self.client.exchange, "GET", path, most=MOST_FETCHED, within=FILE_SECONDS), text=True)
                yield from (json.loads(line) for line in text.split("\n") if line.strip())

    def _row(self, line: Json, call: Call) -> Done | Again:
        response, error = line.get("response"), line.get("error") or {}
        if not response:
            said = self.client.told(json.dumps(error))
            return Again(said, "unsent") if "expired" in str(error.get("code")) else Done(Failed(said), Usage())
        return self.read(Exchanged(int(response.get("status_code", 0)), {}, json.dumps(response.get("body"))), call)

    def _judged(self, call: Call, outcome: Done | Again) -> Iterator[tuple[str, Answer, Usage]]:
        if isinstance(outcome, Done):
            if outcome.end is not None:
                raise outcome.end
            yield call.id, outcome.answer, outcome.usage
            return
        usage = USAGE[outcome.kind](call)
        if call.failed >= self.spec.retries:
            yield call.id, Failed(f"{outcome.reason}, {call.failed + 1} times"), usage
            return
        self.booked(call.id, usage)
        self.again.append(replace(call, failed=call.failed + 1))

    def _forget(self, told: Json) -> None:
        """Have the server delete what was sent and said, now that it is kept here; one that does not has it run out."""
        for name in ("input_file_id", "output_file_id", "error_file_id"):
            if told.get(name):
                self.client.exchange("DELETE", f"/files/{told[name]}")

    # ---------------------------------------------------------------------------------------------- asking
    @property
    def place(self) -> str:
        return f"teacher.batch, at {self.spec.url}"

    def _get(self, path: str) -> Any:
        return self._until(lambda: self.client.exchange("GET", path))

    def _until(self, send: Callable[[], Any], *, text: bool = False, gone: bool = False) -> Any:
        """Return what the server says to ``send``, which is made again while it can't be reached or is busy, as long as the recipe has patience.

        ``gone``: None is an answer too, for what it does not know.
        """
        since = self.clock.now()
        while True:
            found = send()
            if isinstance(found, str):
                return found
            if gone and isinstance(found, Exchanged) and found.status == 404:
                return None
            trouble = found if isinstance(found, Again) else self._trouble(found)
            if trouble is None:
                return found.text if text else self._parsed(found.text)
            if self.clock.now() - since > self.spec.patience_s:
                raise TeacherError(trouble.reason, place=self.place, remedy=f"what was sent up is kept at the server; look at it, {GO_ON}")
            self.clock.sleep(trouble.wait if trouble.wait is not None else TROUBLE)

    def _trouble(self, found: Exchanged) -> Again | None:
        """Return what may pass; None for a reply. Raises :class:`TeacherError` for what won't."""
        if 200 <= found.status < 300:
            return None
        if found.status in (404, 405, 501):
            raise TeacherError(f"the server said {found.status}: {self.client.told(found.text)}", place=self.place, remedy=NO_BATCH)
        judged = self.client.judged(*found)
        if isinstance(judged, Again):
            return judged
        raise TeacherError(getattr(judged, "reason", "the reply is not of the protocol's form"), place=self.place, remedy=NO_BATCH)

    def _parsed(self, text: str) -> Any:
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TeacherError(f"the reply is no JSON object: {text[:200]!r}", place=self.place, remedy=NO_BATCH)
        return found


NO_BATCH = "does it have files and batches? without `batch` it is asked call by call"


def _in_words(told: Json, files: int) -> str:
    counts = told.get("request_counts") or {}
    done = f"{counts.get('completed', 0):,} of {counts['total']:,} rows, " if counts.get("total") else ""
    return f"{done}{told.get('status', '')} at the server" + (f", {files} files" if files > 1 else "")

"""Files and batches as OpenAI's protocol has them, on loopback: each line of a file is answered by a function. It knows nothing of the code that asks."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Desk:
    """What was sent up, and what is being worked through: a batch is done at the ``polls``-th look at it."""

    def __init__(self, answer, *, polls: int = 2, page: int = 2) -> None:
        self.answer, self.polls, self.page = answer, polls, page
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}
        self.asked: list[str] = []  # the custom ids of all lines that were worked through
        self.tokens = 0
        self.faults: dict[str, list] = {}  # "POST /batches" -> what befalls the next ones: cut (after the work is done), or (status, body)
        self.lock = threading.RLock()
        self.url = ""
        self.deleted: list[str] = []
        self.ends: list[str] = []  # how the next batches end, where not completed

    def work(self, batch: dict) -> None:
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].split(b"\n") if line]
        end = self.ends.pop(0) if self.ends else "completed"
        if end == "failed":
            batch |= {"status": "failed", "errors": {"data": [{"message": "line 1 is no request", "code": "invalid"}]}}
            return
        good, bad = [], []
        for n, line in enumerate(lines):
            if end == "expired" and n % 2:
                bad.append({"custom_id": line["custom_id"], "response": None, "error": {"code": "batch_expired", "message": "it took too long"}})
                continue
            if end == "vanished" and n % 2:
                continue
            status, value = self.answer(line["body"])
            self.asked.append(line["custom_id"])
            self.tokens += sum(value.get("usage", {}).values()) if isinstance(value, dict) else 0
            (good if status == 200 else bad).append(
                {"id": f"r{n}", "custom_id": line["custom_id"], "response": {"status_code": status, "body": value}, "error": None}
            )
        batch["status"] = "expired" if end in ("expired", "vanished") else "completed"
        batch["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}
        for name, kept in (("output_file_id", good), ("error_file_id", bad)):
            if kept:
                batch[name] = f"file-{batch['id']}-{name}"
                self.files[batch[name]] = b"".join(json.dumps(line).encode() + b"\n" for line in reversed(kept))  # in an order of its own

    def handle(self, method: str, path: str, query: dict, data: bytes, kind: str) -> tuple[int, object]:
        with self.lock:
            if (method, path) == ("POST", "/files"):
                id = f"file-{len(self.files)}"
                self.files[id] = part(data, kind, "file")
                assert part(data, kind, "purpose") == b"batch"
                return 200, {"id": id, "object": "file", "bytes": len(self.files[id])}
            if (method, path) == ("POST", "/batches"):
                asked = json.loads(data)
                assert asked["input_file_id"] in self.files
                id = f"batch-{len(self.batches)}"
                self.batches[id] = {"id": id, "object": "batch", "status": "validating", "looks": 0, **asked}
                return 200, self.batches[id]
            if (method, path) == ("GET", "/batches"):
                ids = list(reversed(self.batches))
                start = ids.index(query["after"][0]) + 1 if "after" in query else 0
                some = ids[start : start + self.page]
                return 200, {"data": [self.batches[id] for id in some], "has_more": start + self.page < len(ids)}
            if method == "GET" and (found := re.fullmatch(r"/batches/(.+)", path)):
                if found[1] not in self.batches:
                    return 404, {"error": {"message": "no such batch"}}
                batch = self.batches[found[1]]
                batch["looks"] += 1
                if batch["looks"] == self.polls:
                    self.work(batch)
                elif batch["looks"] < self.polls:
                    batch["status"] = "in_progress"
                return 200, batch
            if method == "GET" and (found := re.fullmatch(r"/files/(.+)/content", path)):
                return 200, self.files[found[1]]
            if method == "DELETE" and (found := re.fullmatch(r"/files/(.+)", path)):
                self.deleted.append(found[1])
                return 200, {"id": found[1], "deleted": self.files.pop(found[1], None) is not None}
            if method == "POST":
                status, value = self.answer(json.loads(data))
                self.asked.append("direct")
                self.tokens += sum(value.get("usage", {}).values())
                return status, value
            return 404, {"error": {"message": f"nothing at {method} {path}"}}


def part(data: bytes, kind: str, name: str) -> bytes:
    """The content of a part of a form."""
    mark = b"--" + re.search(r"boundary=([^;]+)", kind)[1].encode()
    found = next(piece for piece in data.split(mark) if f'name="{name}"'.encode() in piece)
    return found.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")


@contextlib.contextmanager
def desk(answer, **options):
    state = Desk(answer, **options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *args: object) -> None:
            pass

        def act(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            path = parts.path.removeprefix("/v1")
            with state.lock:
                faults = state.faults.get(f"{self.command} {path}") or [None]
                fault = faults.pop(0)
            told = fault if isinstance(fault, tuple) else state.handle(self.command, path, parse_qs(parts.query), data, self.headers.get("Content-Type") or "")
            if fault == "cut":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            status, value = told
            text = value if isinstance(value, bytes) else json.dumps(value).encode()
            with contextlib.suppress(OSError):  # whoever asked may have gone
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        do_GET = do_POST = do_DELETE = act

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *told: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()

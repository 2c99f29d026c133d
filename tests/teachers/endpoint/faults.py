"""A server of faults, for these alone: each answer is a script's next line. It knows nothing of the code that asks it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 10, "completion_tokens": 1}


def tokens(*top, said=None, usage=USAGE):
    """A chat's reply whose first token has these alternatives."""
    first = {"token": said or top[0][0], "logprob": top[0][1], "top_logprobs": [{"token": t, "logprob": v} for t, v in top]}
    choice = {"index": 0, "message": {"role": "assistant", "content": first["token"]}, "logprobs": {"content": [first]}, "finish_reason": "length"}
    return {"choices": [choice], **({"usage": usage} if usage else {})}


def text(*said, **more):
    return {
        "choices": [{"index": i, "message": {"role": "assistant", "content": one, **more}, "finish_reason": "stop"} for i, one in enumerate(said)],
        "usage": USAGE,
    }


GOOD = tokens(("good", -0.1), ("bad", -2.5), ("x", -5.0))


class Script:
    """What the server says, request by request: a reply, or (status, reply, headers), or a word: cut, half, slow, html. The last goes on."""

    def __init__(self, *lines) -> None:
        self.lines, self.seen, self.keys, self.at_once, self.most = list(lines) or [GOOD], [], [], 0, 0
        self.lock = threading.Lock()
        self.url = ""

    def next(self, body):
        with self.lock:
            self.seen.append(body)
            line = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        return line(body) if callable(line) else line


@contextlib.contextmanager
def stub(*lines):
    script = Script(*lines)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with script.lock:
                script.keys.append(self.headers.get("Authorization"))
                script.at_once += 1
                script.most = max(script.most, script.at_once)
            try:
                self.act(script.next(body))
            finally:
                with script.lock:
                    script.at_once -= 1

        def act(self, line) -> None:
            if line == "cut":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if line == "half":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if line == "slow":
                time.sleep(0.6)
                line = GOOD
            status, value, headers = line if isinstance(line, tuple) else (200, line, {})
            data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            with contextlib.suppress(OSError):  # whoever asked may have gone
                self.send_response(status)
                for name, told in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, told)
                self.end_headers()
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *told: None  # whoever asked may have gone
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()

"""A run's teacher behind OpenAI's protocol, on loopback, with its own count of what it was asked. `python teacher_endpoint.py RUN PORT COUNT`

It writes a label for a text, as a language model that was told the labels would; tokens are counted as a quarter of the characters.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Teacher:
    """The run's teacher in its process; one question at a time."""

    def __init__(self, run: Path, labels: list[str]) -> None:
        self.labels, self.lock, self.number = labels, threading.Lock(), 0
        head = json.dumps({"kind": "classes", "labels": labels, "threads": 1})
        self.process = subprocess.Popen([sys.executable, "-m", "potstill.standby", str(run), head], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def says(self, text: str) -> str:
        with self.lock:
            self.number += 1
            self.process.stdin.write(json.dumps({"id": self.number, "rows": [{"text": text}]}) + "\n")
            self.process.stdin.flush()
            scores = json.loads(self.process.stdout.readline())["scores"][0]
        return self.labels[max(range(len(scores)), key=scores.__getitem__)]


def main(run: str, port: str, count: str) -> None:
    labels = json.loads((Path(run) / "bundle" / "artifact.json").read_text("utf-8"))["head"]["labels"]
    teacher, written = Teacher(Path(run), labels), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *told: object) -> None:
            pass

        def do_GET(self) -> None:
            self.say({"status": "ready"})

        def do_POST(self) -> None:
            messages = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
            text = messages[-1]["content"].removeprefix("<text>\n").removesuffix("\n</text>")
            said = teacher.says(text)
            usage = {"prompt_tokens": sum(len(message["content"]) for message in messages) // 4, "completion_tokens": max(1, len(said) // 4)}
            with written, Path(count).open("a") as file:
                file.write(f"{usage['prompt_tokens']} {usage['completion_tokens']}\n")
            self.say({"choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}], "usage": usage})

        def say(self, value: dict) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])

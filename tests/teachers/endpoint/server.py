"""A language model behind OpenAI's protocol, as a process of its own: python -m tests.teachers.endpoint.server SPEC.

It knows nothing of the code that asks it. It keeps its own count, a line a request, in a file that survives whoever asks: what was asked
(a hash), the tokens in and out.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PLAIN = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


class Model:
    """The model in ``folder``: log-probabilities of what follows, and continuations."""

    def __init__(self, folder: str) -> None:
        torch.set_num_threads(1)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.tokenizer.chat_template = self.tokenizer.chat_template or PLAIN
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.lock = threading.Lock()

    def chat(self, messages) -> list[int]:
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def text(self, prompt: str) -> tuple[list[int], list[int]]:
        """Return ids and the character at which each begins."""
        made = self.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
        return made["input_ids"], [begin for begin, _ in made["offset_mapping"]]

    @torch.no_grad()
    def logprobs(self, ids: list[int]) -> torch.Tensor:
        with self.lock:
            return self.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)

    def go_on(self, ids: list[int], *, most: int, temperature: float, seed: int, stop: list[str]) -> tuple[str, str, int, list[torch.Tensor], list[int]]:
        generator, made, rows = torch.Generator().manual_seed(seed), [], []
        for _ in range(most):
            row = self.logprobs([*ids, *made])[-1]
            token = int(torch.multinomial((row / temperature).softmax(-1), 1, generator=generator)) if temperature else int(row.argmax())
            made.append(token)
            rows.append(row)
            text = self.tokenizer.decode(made)
            if any(mark in text for mark in stop):
                return text[: min(text.index(mark) for mark in stop if mark in text)], "stop", len(made), rows, made
            if token == self.tokenizer.eos_token_id:
                return self.tokenizer.decode(made[:-1]), "stop", len(made), rows, made
        return self.tokenizer.decode(made), "length", len(made), rows, made

    def told(self, id: int, named: bool) -> str:
        return f"token_id:{id}" if named else self.tokenizer.decode([id])

    def top(self, row: torch.Tensor, k: int, named: bool = False) -> list[tuple[str, float]]:
        values, ids = row.topk(k)
        return [(self.told(i, named), float(v)) for v, i in zip(values.tolist(), ids.tolist())]


def answer(model: Model, name: str, body: dict, chat: bool) -> dict:
    asked = body.get("prompt")
    prompts = [body["messages"]] if chat else asked if isinstance(asked, list) else [asked]
    prompts = [prompts] if prompts and isinstance(prompts[0], int) else prompts
    named = body.get("return_tokens_as_token_ids", False)
    choices, used, made = [], 0, 0
    for prompt in prompts:
        ids, places = (model.chat(prompt), None) if chat else (prompt, [0] * len(prompt)) if isinstance(prompt, list) else model.text(prompt)
        used += len(ids)
        for sample in range(body.get("n", 1)):
            stop = body.get("stop") or []
            text, why, count, rows, tokens = model.go_on(
                ids, most=body.get("max_tokens", 16), temperature=body.get("temperature", 1.0), seed=body.get("seed", 0) + sample, stop=stop
            )
            made += count
            choice = {"index": len(choices), "finish_reason": why}
            choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            if chat and body.get("logprobs"):
                choice["logprobs"] = {
                    "content": [
                        {
                            "token": model.tokenizer.decode([token]), "logprob": float(row[token]),
                            "top_logprobs": [{"token": t, "logprob": v} for t, v in model.top(row, body.get("top_logprobs", 0))],
                        }
                        for row, token in zip(rows, tokens)
                    ]
                }  # fmt: skip
            elif body.get("logprobs"):
                choice["logprobs"] = {"top_logprobs": [dict(model.top(row, body["logprobs"])) for row in rows]}
            if body.get("echo"):
                known = model.logprobs(ids)
                choice["text"] = (model.tokenizer.decode(ids) if isinstance(prompt, list) else prompt) + choice["text"]
                choice["logprobs"] = {
                    "tokens": [model.told(i, named) for i in (*ids, *tokens)],
                    "token_logprobs": [None, *(float(known[i, ids[i + 1]]) for i in range(len(ids) - 1)), *(float(r[t]) for r, t in zip(rows, tokens))],
                    "text_offset": [*places, *(len(prompt) for _ in tokens)],
                }
                if body["logprobs"] > 1:
                    choice["logprobs"]["top_logprobs"] = [None, *(dict(model.top(row, body["logprobs"], named)) for row in (*known[:-1], *rows))]
            if body.get("prompt_logprobs"):
                known = model.logprobs(ids)
                own = [{}, *({str(ids[i + 1]): {"logprob": float(known[i, ids[i + 1]])}} for i in range(len(ids) - 1))]
                tops = [{}, *({str(int(i)): {"logprob": float(v)} for v, i in zip(*row.topk(body["prompt_logprobs"]))} for row in known[:-1])]
                choice["prompt_logprobs"] = [None, *({**top, **one} for top, one in zip(tops[1:], own[1:]))]
            choices.append(choice)
    return {"object": "answer", "model": name, "choices": choices, "usage": {"prompt_tokens": used, "completion_tokens": made}}


def serve(spec: dict) -> None:
    model, name, key = Model(spec["folder"]), spec.get("name", "smollm2"), spec.get("key")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *args: object) -> None:
            pass

        def say(self, status: int, value: dict) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"]))
            if key and self.headers.get("Authorization") != f"Bearer {key}":
                self.say(401, {"error": {"message": f"Incorrect key: {self.headers.get('Authorization')}"}})
                return
            body = json.loads(text)
            if body["model"] != name:
                self.say(404, {"error": {"message": f"The model {body['model']} does not exist"}})
                return
            time.sleep(spec.get("seconds", 0.0))
            try:
                told = answer(model, name, body, self.path.endswith("/chat/completions"))
            except Exception as error:  # whatever is wrong with a request is said, as servers do
                self.say(400, {"error": {"message": repr(error)}})
                return
            if spec.get("count"):
                line = f"{hashlib.sha256(text).hexdigest()} {told['usage']['prompt_tokens']} {told['usage']['completion_tokens']}\n"
                handle = os.open(spec["count"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(handle, line.encode())
                os.close(handle)
            self.say(200, told)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))

"""LitServe over a bundle's ONNX, one worker on the CPU. `python serve_litserve.py BUNDLE PORT BATCH`: batches of at most BATCH, gathered for 2 ms."""

from __future__ import annotations

import sys
from pathlib import Path

import litserve
from serve_plain import Student


class Single(litserve.LitAPI):
    """A request is one text."""

    folder = ""

    def setup(self, device: str) -> None:
        self.student = Student(Path(self.folder))

    def decode_request(self, request: dict) -> str:
        return request["inputs"][0]

    def predict(self, texts: str) -> dict:
        return self.student.answer([texts])[0]

    def encode_response(self, output: dict) -> dict:
        return {"predictions": [output]}


class Batched(Single):
    """The texts of several requests at once."""

    def batch(self, inputs: list[str]) -> list[str]:
        return list(inputs)

    def predict(self, texts: list[str]) -> list[dict]:
        return self.student.answer(texts)

    def unbatch(self, output: list[dict]) -> list[dict]:
        return output


def main(folder: str, port: str, batch: str = "1") -> None:
    api = Batched(api_path="/v1/predict", max_batch_size=int(batch), batch_timeout=0.002) if int(batch) > 1 else Single(api_path="/v1/predict")
    api.folder = folder  # the worker is a process of its own, and gets the object as it is
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, healthcheck_path="/readyz", timeout=30)
    server.run(host="127.0.0.1", port=int(port), num_api_servers=1, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:4])

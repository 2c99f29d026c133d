"""A plain server over a bundle's ONNX: FastAPI on uvicorn, tokenizers, ONNX Runtime on one thread. `python serve_plain.py BUNDLE PORT`"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer


class Question(BaseModel):
    inputs: list[str]


class Student:
    """The bundle's own tokenizer and graph, and nothing else: a text in, its label and probabilities out."""

    def __init__(self, folder: Path) -> None:
        self.told = json.loads((folder / "artifact.json").read_text("utf-8"))
        asked = self.told["preprocess"]
        if asked["kind"] != "tokenizer":
            sys.exit("the peers can read bundles with a tokenizer alone")
        self.tokenizer, self.inputs, self.field = Tokenizer.from_file(str(folder / asked["file"])), asked["inputs"], asked["fields"][0]
        self.tokenizer.enable_truncation(asked["max_length"])
        self.tokenizer.enable_padding(pad_id=asked["pad"]["input_ids"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(folder / self.told["model"], options, providers=["CPUExecutionProvider"])

    def encode(self, texts: list[str]) -> dict[str, np.ndarray]:
        found = self.tokenizer.encode_batch(texts)
        parts = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        return {name: np.array([getattr(one, parts[name]) for one in found], np.int64) for name in self.inputs}

    def answer(self, texts: list[str]) -> list[dict]:
        logits = self.session.run(None, self.encode(texts))[0].astype(np.float64) / self.told.get("temperature", 1.0)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        labels = self.told["head"]["labels"]
        return [{"label": labels[int(row.argmax())], "score": float(row.max()), "scores": dict(zip(labels, row.tolist()))} for row in shares]


def main(folder: str, port: str) -> None:
    student, app = Student(Path(folder)), FastAPI()

    @app.post("/v1/predict")
    def predict(question: Question) -> dict:
        return {"predictions": student.answer(question.inputs)}

    @app.get("/readyz")
    def ready() -> str:
        return "ready"

    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:3])

"""The shipped thing at work: an artifact's folder in, labels with log-probabilities out. numpy, tokenizers and ONNX Runtime only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .. import storage
from ..errors import BundleError
from ..records import Field
from .preprocess import Preprocess, build

SCHEMA = 1
DESCRIPTION = "artifact.json"


@dataclass(frozen=True)
class Predictor:
    """An open artifact. Calls may come from several threads: the session holds no state between them."""

    folder: Path
    labels: tuple[str, ...]
    fields: tuple[str, ...]
    temperature: float
    preprocess: Preprocess
    session: Any  # onnxruntime.InferenceSession

    @staticmethod
    def open(folder: Path, threads: int = 1) -> Predictor:
        """Open the artifact in ``folder``. Raises :class:`BundleError` for what is missing, damaged or from a newer version."""
        described = describe(folder)
        session = _session(folder / described["model"], threads)
        return Predictor(
            folder, tuple(described["head"]["labels"]), tuple(described["preprocess"]["fields"]), float(described["temperature"]),
            build(described["preprocess"], folder), session,
        )  # fmt: skip

    def predict(self, rows: Sequence[Mapping[str, Field]], *, batch_size: int = 32) -> np.ndarray:
        """Return calibrated log-probabilities *Shape:* (rows, classes) float32. Raises DataError for a row without its fields."""
        return log_softmax(self.logits(rows, batch_size=batch_size) / self.temperature)

    def logits(self, rows: Sequence[Mapping[str, Field]], *, batch_size: int = 32) -> np.ndarray:
        """Return the model's scores *Shape:* (rows, classes) float32; rows of like length share a batch."""
        items = self.preprocess.encode(rows)
        order = np.argsort([self.preprocess.length(item) for item in items], kind="stable")
        out = np.empty((len(items), len(self.labels)), np.float32)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            out[batch] = self.session.run(None, self.preprocess.collate([items[i] for i in batch]))[0]
        return out

    def decide(self, logprobs: np.ndarray) -> list[str]:
        """Return the likeliest label of each row."""
        return [self.labels[i] for i in logprobs.argmax(axis=1)]


def describe(folder: Path) -> dict[str, Any]:
    """Return ``artifact.json``, checked."""
    path = folder / DESCRIPTION
    try:
        found: dict[str, Any] = storage.read_json(path)
    except FileNotFoundError as error:
        raise BundleError("there is no artifact here", place=str(folder), remedy="a run's is in its bundle/ folder") from error
    except (ValueError, OSError) as error:
        raise BundleError(f"the description can't be read: {error}", place=str(path), remedy="restore the file, or write the bundle again") from error
    if found.get("schema", 0) > SCHEMA:
        raise BundleError(
            f"written by a newer potstill (schema {found['schema']}; this one knows {SCHEMA})",
            place=str(path),
            remedy="install that version",
        )
    missing = [key for key in ("model", "preprocess", "head", "temperature") if key not in found]
    if missing:
        raise BundleError(f"the description lacks {', '.join(missing)}", place=str(path), remedy="restore the file, or write the bundle again")
    return found


def _session(path: Path, threads: int) -> Any:
    if not path.is_file():
        raise BundleError("the model is missing", place=str(path), remedy="restore the file, or write the bundle again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not eat the cores of their neighbors
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a dozen classes of its own for a damaged file
        reason = str(error).splitlines()[0][:200]
        raise BundleError(
            f"the model can't be opened: {reason}", place=str(path), remedy="the file is damaged: restore it, or write the bundle again"
        ) from error


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Return log-probabilities along the last axis, float32, finite for any finite scores."""
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    normalized: np.ndarray = (shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))).astype(np.float32)
    return normalized

"""The shipped thing at work: an artifact's folder in, labels with their scores out. numpy, tokenizers and ONNX Runtime only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .. import storage
from ..errors import BundleError, DataError, UserError
from ..records import Field, HeadKind
from .preprocess import Item, Preprocess, build

SCHEMA = 4
SCHEMAS: Mapping[HeadKind, int] = {"classes": 1, "labels": 2, "tokens": 4}  # what an older potstill can read, it shall; labels it would take for classes
REPLACED = 3  # where texts are replaced before they are read: an older potstill would read them as they are
DESCRIPTION = "artifact.json"
# A graph of fewer bytes runs on one thread, and a call's batches beside each other: its products are too small to be shared. Measured on two
# quiet cores with three int8 layers of MiniLM (18 MB): a single text takes 1.3 ms with one thread, 2.8 ms with two.
SMALL = 64_000_000
MEND = "restore the file, or write the bundle again"


@dataclass(frozen=True)
class Predictor:
    """An open artifact. Calls may come from several threads: the session holds no state between them."""

    folder: Path
    labels: tuple[str, ...]
    fields: tuple[str, ...]
    temperature: float
    preprocess: Preprocess
    session: Any  # onnxruntime.InferenceSession
    max_batch: int | None = None  # rows that may share a batch without a say in each other's answers; None: any number
    kind: HeadKind = "classes"
    cuts: tuple[float, ...] = ()  # from which log-odds on each label is told; none: from 0 on
    beside: int = 1  # batches of one call that are answered at a time

    @staticmethod
    def open(folder: Path, threads: int = 1) -> Predictor:
        """Open the artifact in ``folder``. Raises :class:`BundleError` for what is missing, damaged or from a newer version."""
        described = describe(folder)
        if described["head"].get("kind") == "tokens":
            remedy = "answer from it with `potstill predict` or `potstill serve`, or open it by potstill.serving.generator:Generator"
            raise BundleError("this is a language model: it has no labels", place=str(folder), remedy=remedy)
        labels, spec = tuple(described["head"]["labels"]), described["preprocess"]
        preprocess = build(spec, folder)
        model = folder / described["model"]
        size = described.get("files", {}).get(described["model"], {}).get("bytes")
        inside = 1 if model.is_file() and model.stat().st_size < SMALL else threads  # open_session says what is missing
        session = open_session(model, inside, size)
        _agree(model, session, preprocess.inputs, len(labels))
        head = described["head"]
        return Predictor(
            folder, labels, tuple(spec["fields"]), float(described["temperature"]), preprocess, session, described.get("max_batch"),
            head.get("kind", "classes"), tuple(map(float, head.get("thresholds", ()))), threads // inside,
        )  # fmt: skip

    def predict(self, rows: Sequence[Mapping[str, Field]], *, batch_size: int = 32) -> np.ndarray:
        """Return calibrated log-probabilities, of labels log-odds *Shape:* (rows, classes) float32.

        A row's answer does not depend on the rows beside it, beyond the last digits of float32. Fields that the model does
        not read are ignored. Raises :class:`DataError` for a row without its fields.
        """
        return self.scores_of(self.logits(rows, batch_size=batch_size))

    def scores_of(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated log-probabilities, of labels log-odds, from :meth:`logits`."""
        return SCORES[self.kind](logits / self.temperature)

    def logits(self, rows: Sequence[Mapping[str, Field]], *, batch_size: int = 32) -> np.ndarray:
        """Return the model's scores *Shape:* (rows, classes) float32; rows of like length share a batch, of ``max_batch`` at most."""
        return self.logits_of(self.encode(rows), batch_size=batch_size)

    def encode(self, rows: Sequence[Mapping[str, Field]]) -> list[Item]:
        """Return what :meth:`logits_of` reads: the rows' texts as numbers. Raises :class:`DataError` for a row without its fields."""
        return self.preprocess.encode(self._rows(rows))

    def logits_of(self, items: Sequence[Item], *, batch_size: int = 32) -> np.ndarray:
        """Return :meth:`logits` of rows that were encoded."""
        if batch_size < 1:
            raise UserError(f"a batch of {batch_size} rows can't be", remedy="take 1 or more")
        batch_size = min(batch_size, self.max_batch or batch_size)
        order = np.argsort([self.preprocess.length(item) for item in items], kind="stable")
        out = np.empty((len(items), len(self.labels)), np.float32)
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

        def answer(batch: np.ndarray) -> None:
            out[batch] = self._run(self.preprocess.collate([items[i] for i in batch]))

        if min(self.beside, len(batches)) < 2:
            for batch in batches:
                answer(batch)
        else:
            with ThreadPoolExecutor(self.beside) as workers:
                list(workers.map(answer, reversed(batches)))  # the longest first, so that no thread is left with them at the end
        return out

    @property
    def thresholds(self) -> np.ndarray:
        """What is taken off scores before they decide *Shape:* (classes,) float32; zeros where one class applies."""
        return np.array(self.cuts or np.zeros(len(self.labels)), np.float32)

    def decide(self, logprobs: np.ndarray) -> list[str | list[str]]:
        """Return what :meth:`predict` gave as an answer: each row's likeliest label, or the list of the labels that apply."""
        if self.kind == "classes":
            return [self.labels[i] for i in logprobs.argmax(axis=1)]
        return [[self.labels[i] for i in np.flatnonzero(row >= 0)] for row in logprobs - self.thresholds]

    def probabilities(self, logprobs: np.ndarray) -> np.ndarray:
        """Return what :meth:`predict` gave as probabilities *Shape:* (rows, classes) float64; those of labels need not sum to 1."""
        wide = logprobs.astype(np.float64)
        return np.exp(wide) if self.kind == "classes" else np.exp(-np.logaddexp(0, -wide))

    def _rows(self, rows: Sequence[Mapping[str, Field]]) -> Sequence[Mapping[str, Field]]:
        wrong = rows if isinstance(rows, str | Mapping) else next((row for row in rows if not isinstance(row, Mapping)), None)
        if wrong is not None:
            example = ", ".join(f'"{name}": "..."' for name in self.fields)
            raise DataError(f"rows are a list of mappings, not {type(wrong).__name__}", remedy=f"this model reads [{{{example}}}, ...]")
        return rows

    def _run(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        try:
            scores: np.ndarray = self.session.run(None, arrays)[0]
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise BundleError(f"the model can't answer: {_first_line(error)}", place=str(self.folder), remedy=MEND) from error
        return scores


def describe(folder: Path) -> dict[str, Any]:
    """Return ``artifact.json``, checked. Raises :class:`BundleError`."""
    path = folder / DESCRIPTION
    try:
        found = storage.read_json(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError("there is no artifact here", place=str(folder), remedy="a run's is in its bundle/ folder") from error
    except (ValueError, OSError) as error:
        raise BundleError(f"the description can't be read: {error}", place=str(path), remedy=MEND) from error
    if not isinstance(found, dict):
        raise BundleError("the description is no JSON object", place=str(path), remedy=MEND)
    if found.get("schema", 0) > SCHEMA:
        known = f"this one knows {SCHEMA}"
        raise BundleError(f"written by a newer potstill (schema {found['schema']}; {known})", place=str(path), remedy="install that version")
    missing = [key for key in ("model", "preprocess", "head", "temperature") if key not in found]
    if missing:
        raise BundleError(f"the description lacks {', '.join(missing)}", place=str(path), remedy=MEND)
    if Path(found["model"]).name != found["model"]:
        raise BundleError(f"the model must lie in this folder, not at '{found['model']}'", place=str(path), remedy=MEND)
    if not (math.isfinite(found["temperature"]) and found["temperature"] > 0):
        raise BundleError(f"a temperature of {found['temperature']} can't be", place=str(path), remedy=MEND)
    head = found["head"]
    if head.get("kind", "classes") not in SCHEMAS:
        raise BundleError(f"an unknown kind of head, '{head['kind']}'", place=str(path), remedy="install a newer potstill")
    cuts = head.get("thresholds", [])
    if cuts and (len(cuts) != len(head["labels"]) or not all(map(math.isfinite, cuts))):
        raise BundleError(f"{len(cuts)} thresholds for {len(head['labels'])} labels, or one that is no number", place=str(path), remedy=MEND)
    return found


def open_session(path: Path, threads: int, size: int | None = None) -> Any:
    """Return the ONNX Runtime session of a graph's file, of ``size`` bytes where that is known. Raises :class:`BundleError`."""
    if not path.is_file():
        raise BundleError("the model is missing", place=str(path), remedy=MEND)
    if size is not None and path.stat().st_size != size:  # a file cut short can still be read as a smaller model
        raise BundleError(f"the model has {path.stat().st_size:,} bytes of {size:,}", place=str(path), remedy=MEND)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # what is wrong is raised; the log would only say it again
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not eat the cores of their neighbors
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no base of their own
        why = f"the model can't be opened: {_first_line(error)}"
        raise BundleError(why, place=str(path), remedy=f"the file is damaged, or ONNX Runtime too old: {MEND}") from error


def _agree(path: Path, session: Any, inputs: Sequence[str], classes: int) -> None:
    """Raise :class:`BundleError` where the model was made for another description."""
    reads = {node.name for node in session.get_inputs()}
    gives = session.get_outputs()[0].shape[-1]
    if reads != set(inputs):
        told = ", ".join(sorted(inputs))
        raise BundleError(f"the model reads {', '.join(sorted(reads))}, the description says {told}", place=str(path), remedy=MEND)
    if isinstance(gives, int) and gives != classes:
        raise BundleError(f"the model gives {gives} scores for {classes} labels", place=str(path), remedy=MEND)


def _float32(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores, np.float32)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Return log-probabilities along the last axis, float32, finite for any finite scores."""
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    normalized: np.ndarray = (shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))).astype(np.float32)
    return normalized


SCORES: Mapping[HeadKind, Callable[[np.ndarray], np.ndarray]] = {"classes": log_softmax, "labels": _float32}

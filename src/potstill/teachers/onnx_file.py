"""A teacher that is a classifier in an ONNX file, with its tokenizer: opened, looked at, and tried once before it is believed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data
from tokenizers import Tokenizer

from .. import storage
from ..errors import BundleError, TeacherError
from ..records import Head
from ..serving.predictor import open_session
from ..serving.preprocess import Tokenized
from .build import Given, known, task_names
from .graph import Graph, GraphTeacher, first_line
from .rows import budget

VERSION = 1  # raise it when the same file would answer otherwise
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TYPES = {"tensor(int64)": "int64", "tensor(int32)": "int32"}
# These give the activations of a whole batch one scale: a row's answer would depend on the rows beside it.
BY_BATCH = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})
PADS = ("[PAD]", "<pad>")
HEADLESS = "export the classifier and not its encoder alone, or name the encoder's folder: kind: model, with adapt: {how: finetune}"


@dataclass(frozen=True)
class _File:
    """What the file itself says: every file that it is made of, the count of its weights, whether a batch shares a scale."""

    files: tuple[Path, ...]
    parameters: int
    by_batch: bool


def open_onnx(spec: Any, head: Head, given: Given) -> GraphTeacher:
    """Return the teacher of a recipe's `kind: onnx`.

    Raises :class:`TeacherError` for a file that can't be read, inputs that text doesn't give, a graph without a classification head,
    and labels that are not the task's.
    """
    path, tokenizer = Path(spec.model), tokenizer_of(spec)
    own, told = labels_of(spec), _look(path)
    names = task_names(own, {}, head, place=str(path), remedy="name the outputs in their order by the task's labels: labels: [...]")
    session = _session(path, given.threads or 1)
    types = _inputs(path, session)
    preprocess = _preprocess(tokenizer, tuple(types), spec.max_length)
    graph = Graph(session, preprocess, budget(spec.batch_size, spec.max_length), 1 if told.by_batch else None, _output(path, session, spec.output), types)
    _try(path, graph, len(own), spec.max_length)
    facts = {
        "architecture": "ONNX graph", "parameters": told.parameters, "size_bytes": sum(file.stat().st_size for file in (*told.files, tokenizer)),
        "layers": None, "width": None, "max_length": spec.max_length, "precision": None, "path": str(path), "one_hot": False, **known(spec),
        "unknown": {"precision": "an ONNX file may mix several"},
    }  # fmt: skip
    return GraphTeacher(path.stem, head, graph, names, identity=identity(spec), facts=facts, output=spec.output)


def identity(spec: Any) -> str:
    """Return the digest of the file (with what it keeps outside), its tokenizer, ``max_length`` and the names of its outputs."""
    files = {file.name: storage.sha256_file(file) for file in _look(Path(spec.model)).files}
    return storage.digest("onnx", VERSION, files, storage.sha256_file(tokenizer_of(spec)), spec.max_length, spec.output, labels_of(spec))


def tokenizer_of(spec: Any) -> Path:
    path = Path(spec.tokenizer) if spec.tokenizer else Path(spec.model).with_name("tokenizer.json")
    if not path.is_file():
        raise TeacherError("there is no tokenizer", place=str(path), remedy="put tokenizer.json beside the ONNX file, or name it: teacher.tokenizer")
    return path


def labels_of(spec: Any) -> list[str]:
    """Return the names of the graph's outputs in their order: as the recipe gives them, else from config.json beside the file."""
    if spec.labels:
        return list(spec.labels)
    path = Path(spec.model).with_name("config.json")
    try:
        told = json.loads(path.read_text("utf-8"))["id2label"]
        return [str(told[str(i)]) for i in range(len(told))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TeacherError(
            "it is not known which class each output stands for",
            place=str(path), remedy="name them in the order of the outputs: labels: [negative, positive]; or put config.json with id2label beside the file",
        ) from error  # fmt: skip


def _look(path: Path) -> _File:
    if not path.is_file():
        raise TeacherError("there is no such file", place=f"teacher.model: {path}", remedy="name the .onnx file")
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except (DecodeError, OSError) as error:
        raise TeacherError(f"this is no ONNX file: {first_line(error)}", place=str(path), remedy="is it whole?") from error
    weights = [tensor for tensor in graph.initializer if tensor.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL)]
    outside = {ExternalDataInfo(tensor).location for tensor in graph.initializer if uses_external_data(tensor)}
    files = [path, *(path.parent / name for name in sorted(outside))]
    if missing := [file for file in files if not file.is_file()]:
        raise TeacherError("a part of the model is missing", place=str(missing[0]), remedy="put it back beside the ONNX file")
    by_batch = any(node.op_type in BY_BATCH for node in graph.node)
    return _File(tuple(files), int(sum(np.prod(tensor.dims) for tensor in weights)), by_batch)


def _session(path: Path, threads: int) -> Any:
    try:
        return open_session(path, threads)
    except BundleError as error:
        raise TeacherError(error.message, place=str(path), remedy="is the file whole, and does this ONNX Runtime know its operators?") from error


def _inputs(path: Path, session: Any) -> Mapping[str, str]:
    """Return the type of each input by name, in the usual order."""
    given = {node.name: node.type for node in session.get_inputs()}
    if unknown := [name for name in given if name not in INPUTS]:
        raise TeacherError(f"the graph wants '{unknown[0]}', which a text doesn't give", place=str(path), remedy=f"known inputs: {', '.join(INPUTS)}")
    if "input_ids" not in given:
        raise TeacherError("the graph reads no input_ids", place=str(path), remedy="only text classifiers over token ids can be asked")
    if wrong := [name for name, kind in given.items() if kind not in TYPES]:
        raise TeacherError(f"the input '{wrong[0]}' is a {given[wrong[0]]}", place=str(path), remedy=f"known: {', '.join(TYPES)}")
    return {name: TYPES[given[name]] for name in INPUTS if name in given}


def _preprocess(path: Path, inputs: Sequence[str], max_length: int) -> Any:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises no narrower one
        raise TeacherError(f"the tokenizer can't be read: {first_line(error)}", place=str(path), remedy="is it a tokenizer.json?") from error
    padding = tokenizer.padding or {}
    pad = padding.get("pad_id", next((id for name in PADS if (id := tokenizer.token_to_id(name)) is not None), 0))
    spec = {"max_length": max_length, "inputs": inputs, "pad": {"input_ids": pad, "token_type_ids": padding.get("pad_type_id", 0)}, "fields": ()}
    return AnyFields(Tokenized.make({**spec, "fields": ("text",)}, tokenizer), Tokenized.make({**spec, "fields": ("text", "text_pair")}, tokenizer))


@dataclass(frozen=True)
class AnyFields:
    """Tokenization of rows of which each may be a text or a pair of texts."""

    single: Tokenized
    pair: Tokenized

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.single.inputs

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        pairs = ["text_pair" in row for row in rows]
        sides = {
            side: iter(way.encode([row for row, is_pair in zip(rows, pairs) if is_pair is side])) for side, way in ((False, self.single), (True, self.pair))
        }
        return [next(sides[is_pair]) for is_pair in pairs]

    def collate(self, items: Sequence[Any]) -> dict[str, np.ndarray]:
        return self.single.collate(items)

    def length(self, item: Any) -> int:
        return self.single.length(item)


def _output(path: Path, session: Any, wanted: str) -> str:
    """Return the name of the output that is asked for: the only one, or the one of that name."""
    there = {node.name: node.shape for node in session.get_outputs()}
    if wanted in there:
        return wanted
    flat = [name for name, shape in there.items() if not shape or len(shape) == 2]
    if len(flat) == 1 or len(there) == 1:
        return (flat or list(there))[0]
    told = ", ".join(f"{name} {_shape(shape)}" for name, shape in there.items())
    if not flat:
        raise TeacherError(f"the graph has no classification head: it gives {told}", place=str(path), remedy=HEADLESS)
    raise TeacherError(f"which output holds the {wanted}? there are: {told}", place=str(path), remedy=f"name it '{wanted}' when you export")


def _try(path: Path, graph: Graph, classes: int, max_length: int) -> None:
    """Ask the graph about two texts, a short one and the longest that may come: what it gives must be scores of the classes."""
    items = graph.preprocess.encode([{"text": "a"}, {"text": "a " * max_length}])
    for item in items:
        try:
            scores = graph.run([item])
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            length = graph.preprocess.length(item)
            remedy = "is max_length more than the model takes, or its shape a fixed one?"
            raise TeacherError(f"the graph can't answer a text of {length} tokens: {first_line(error)}", place=str(path), remedy=remedy) from error
        if scores.ndim != 2:
            raise TeacherError(f"the graph has no classification head: it gives {graph.output} {_shape(scores.shape)}", place=str(path), remedy=HEADLESS)
        if scores.shape != (1, classes):
            remedy = "name every class, in the order of the outputs: teacher.labels"
            raise TeacherError(f"the graph gives {scores.shape[1]} scores for {classes} labels", place=str(path), remedy=remedy)


def _shape(shape: Sequence[Any]) -> str:
    return f"({', '.join(str(size) for size in shape)})"

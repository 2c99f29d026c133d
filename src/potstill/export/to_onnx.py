"""A student as an ONNX graph: opset 17, any batch, any length, the same bytes for the same weights. Trees write their own."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from torch import nn
from torch.onnx import TrainingMode

from ..students.protocol import AnyStudent, LoopStudent

OPSET = 17
OUTPUT = "logits"


def to_onnx(student: AnyStudent) -> onnx.ModelProto:
    """Return the student's graph: the inputs of its preprocessing, for tokens (rows, length) int64; ``logits`` (rows, classes) float32.

    The student is left as it was, the training mode of each of its parts included (TRAPS.md 58).
    """
    return _cleaned(student.graph(OUTPUT) if student.learns == "fit" else _traced(student))


def _traced(student: LoopStudent) -> onnx.ModelProto:
    with evaluating(student.module):
        module = student.export_module()
        names = list(student.preprocess.inputs)
        axes = {name: {0: "rows", 1: "length"} for name in names} | {OUTPUT: {0: "rows"}}
        buffer = io.BytesIO()
        options = {"input_names": names, "output_names": [OUTPUT], "dynamic_axes": axes, "opset_version": OPSET, "dynamo": False}
        with _quiet(), torch.no_grad(), evaluating(module):
            # PRESERVE: by default the exporter sets the mode itself, and afterwards gives all parts the mode of the root.
            torch.onnx.export(module, _example(student), buffer, training=TrainingMode.PRESERVE, **options)  # type: ignore[arg-type]
    return onnx.load_from_string(buffer.getvalue())


def _example(student: LoopStudent) -> tuple[torch.Tensor, ...]:
    """Return a batch with padding, each input *Shape:* (2, 8): a tracer may leave out what a full batch doesn't need."""
    example = torch.ones((2, 8), dtype=torch.int64)
    example[1, 5:] = 0
    return tuple(example.to(torch.from_numpy(array).dtype) for array in student.preprocess.collate([]).values())


def _cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take out what differs between machines and versions without changing the answers: paths in doc strings, the producer."""
    model.producer_name, model.producer_version, model.doc_string = "potstill", "", ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return model


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Hold a module in eval mode, then give each of its parts the mode that it had: some may be frozen in eval while others train."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own retirement and of traced Python values; parity on real inputs is what is checked instead."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.onnx._internal")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)

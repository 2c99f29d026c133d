"""A student as an ONNX file: opset 17, any batch, any length, the same bytes for the same weights."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch

from ..students.protocol import LoopStudent

OPSET = 17
OUTPUT = "logits"


def to_onnx(student: LoopStudent) -> onnx.ModelProto:
    """Return the student's graph: the inputs of its preprocessing (rows, length) int64, ``logits`` (rows, classes) float32.

    The student's own module is left as it was, training mode included: the exporter gets a copy.
    """
    was_training = student.module.training
    module = student.export_module().eval()
    names = list(student.preprocess.inputs)
    example = tuple(torch.ones((2, 8), dtype=torch.int64) for _ in names)
    axes = {name: {0: "rows", 1: "length"} for name in names} | {OUTPUT: {0: "rows"}}
    buffer = io.BytesIO()
    with _quiet(), torch.no_grad():
        options = {"input_names": names, "output_names": [OUTPUT], "dynamic_axes": axes, "opset_version": OPSET, "dynamo": False}
        torch.onnx.export(module, example, buffer, **options)  # type: ignore[arg-type]
    student.module.train(was_training)  # some exporters leave what they traced in train mode
    model = onnx.load_from_string(buffer.getvalue())
    model.producer_name, model.producer_version, model.doc_string = "potstill", "", ""
    for node in model.graph.node:
        node.doc_string = ""  # paths of the exporting machine
    return model


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

"""How an activation becomes 8 bits: what was seen of it, and the grid that costs its products least.

A grid is fixed when the model is exported, so that an answer depends on nothing but its row. Channels that are louder than others
hand their loudness to the weights that read them (Xiao et al. 2023, "SmoothQuant", arXiv:2211.10438, eq. 4); how much of it is chosen
for each activation by the error of its products (as Lin et al. 2024, "AWQ", arXiv:2306.00978, section 3.2, search theirs).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

EXPONENTS = (None, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of an activation channel's range in its smoothing; None: no smoothing
SAMPLE = 1024  # units of an activation by which grids are compared
LEVELS = 63  # a weight's greatest level, of 7 bits: without VNNI two products are summed in 16 bits, which 8-bit weights overflow


@dataclass(frozen=True)
class Seen:
    """An activation's least and greatest value by channel *Shape:* (channels,), zero within; and a sample of it (units, channels)."""

    low: np.ndarray
    high: np.ndarray
    sample: np.ndarray


@dataclass(frozen=True)
class Grid:
    """A channel is divided by its ``smooth``, then rounded to steps of ``step`` around the level ``zero`` of 256."""

    smooth: np.ndarray
    step: np.float32
    zero: np.uint8

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """Return what is left of ``values`` *Shape:* (units, channels), still divided by ``smooth``."""
        levels = np.clip(np.rint(values / self.smooth / self.step) + self.zero, 0, 255)
        return np.asarray((levels - self.zero) * self.step, np.float32)


def calibrate(model: onnx.ModelProto, names: Sequence[str], batches: Iterable[Mapping[str, np.ndarray]]) -> dict[str, Seen]:
    """Return what the activations ``names`` hold over ``batches``: one row each, since padding would have a say."""
    if not names:
        return {}
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = quiet_session(shown)
    values: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for batch in batches:
        for name, found in zip(names, session.run(list(names), dict(batch))):
            values[name].append(found.reshape(-1, found.shape[-1]))
    return {name: _seen(np.concatenate(parts)) for name, parts in values.items() if sum(map(len, parts))}


def _seen(units: np.ndarray) -> Seen:
    spread = np.linspace(0, len(units) - 1, min(len(units), SAMPLE)).astype(int)
    return Seen(np.minimum(units.min(axis=0), 0), np.maximum(units.max(axis=0), 0), units[spread])


def fit(seen: Seen, matrices: Sequence[np.ndarray]) -> Grid:
    """Return the grid with which the products with ``matrices``, each *Shape:* (channels, outputs), are off by the least."""
    matrix = np.concatenate(matrices, axis=1)
    exact = seen.sample @ matrix

    def error(grid: Grid) -> float:
        weights = matrix * grid.smooth[:, None]
        scales = np.abs(weights).max(axis=0) / LEVELS
        rounded = np.rint(weights / np.where(scales == 0, 1, scales)) * scales
        return float(np.square(grid.rounded(seen.sample) @ rounded - exact).mean(dtype=np.float64))

    return min((_grid(seen, matrix, exponent) for exponent in EXPONENTS), key=error)


def _grid(seen: Seen, matrix: np.ndarray, exponent: float | None) -> Grid:
    smooth = np.ones(len(matrix), np.float32)
    loud, heavy = np.maximum(-seen.low, seen.high).astype(np.float64), np.abs(matrix).max(axis=1).astype(np.float64)
    usable = (loud > 0) & (heavy > 0)
    if exponent is not None and usable.any():
        smooth[usable] = loud[usable] ** exponent / heavy[usable] ** (1 - exponent)
        # A channel that was silent so far may speak one day: it is not turned up beyond the usual one.
        smooth = np.maximum(smooth, np.median(smooth[usable]) * np.float32(0.01))
        smooth[~usable] = np.median(smooth[usable])
    low, high = float((seen.low / smooth).min()), float((seen.high / smooth).max())
    step = np.float32(max(high - low, 1e-12) / 255)
    return Grid(smooth, step, np.uint8(np.clip(np.rint(-low / step), 0, 255)))


def quiet_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session of one thread that says nothing: what it is for happens while a model is made, not while it answers."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads, options.inter_op_num_threads = 4, 1, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

"""A language model as an artifact that generates without torch: its graph with a cache, fp32 or int8, held to the model on real texts and odd ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx.external_data_helper import convert_model_to_external_data

from .. import storage
from ..errors import PotstillError, UserError
from ..records import Artifact, Field
from ..runlog import RunLog
from ..serving.generator import Generator, log_probabilities
from ..serving.predictor import DESCRIPTION, SCHEMAS
from .decoder import Shape, decoder
from .ladder import DIGITS, MODEL, TOLERANCE, Gate, Judged, Precision, Step, artifact
from .parity import ODD
from .to_onnx import evaluating
from .weights import FINE, Blocked, Graph, Weights, Whole

DATA = "model.onnx.data"  # beside the graph where both would not fit one file
LARGEST = 1_900_000_000  # bytes of a graph in one file: protobuf ends at 2 GiB
ROWS = 16  # that parity is measured on, beside the odd ones
Method = Literal["fp32", "blocks", "small blocks"]
WRITTEN: Mapping[Method, tuple[Precision, Callable[[Graph], Weights]]] = {
    "fp32": ("fp32", Whole), "blocks": ("int8", Blocked), "small blocks": ("int8", partial(Blocked, blocks=FINE)),
}  # fmt: skip
INT8: tuple[Method, ...] = ("blocks", "small blocks")  # the first that passes the gate is kept: the second costs time
Judge = Callable[[Generator], Judged]
Row = Mapping[str, Field]


@dataclass(frozen=True)
class Foretold:
    """How far an artifact is from the model it was made of, at ``positions`` places of ``n`` rows that foretell a learnt token.

    ``max_abs_diff``: of logits, infinite where one is no number; ``scale``: the greatest logit, 1 at least; ``kl``: KL(model || artifact), the mean in
    nats; ``agreement``: the share of places whose likeliest token is the same.
    """

    max_abs_diff: float
    kl: float
    agreement: float
    positions: int
    n: int
    scale: float = 1.0

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as JSON has them, null for the infinite; ``label_flips``: places whose likeliest token is another."""
        told = {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}
        return {**told, "label_flips": round((1 - self.agreement) * self.positions)}


def write(module: Any, spec: Mapping[str, Any], tokenizer: Any, folder: Path, method: Method = "fp32", *, student: str = "transformer") -> Artifact:
    """Write the artifact of ``module``, a CausalLM of ``transformers`` with adapters merged, to ``folder``, its description last.

    ``spec``: of :class:`potstill.serving.turns.Turns`; ``tokenizer``: of the library tokenizers. Raises :class:`UserError` for a model that no graph can be
    written of, or one that sees fewer tokens than ``spec`` gives it.
    """
    shape = Shape.of(module)
    if shape.context < spec["max_length"]:
        remedy = "lower max_length (a sliding window counts, too)"
        raise UserError(f"rows of {spec['max_length']} tokens, and the model sees {shape.context} at once", place="export", remedy=remedy)
    precision, weights = WRITTEN[method]
    graph = decoder(shape, _tensors(module), weights)
    with storage.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = _save(graph, folder)
    storage.write_text(folder / str(spec["file"]), tokenizer.to_str())
    described = {
        "schema": SCHEMAS["tokens"], "format": "onnx", "model": MODEL, "precision": precision, "student": student,
        "parameters": sum(one.numel() for one in module.parameters()), "preprocess": dict(spec),
        "head": {"kind": "tokens", "labels": [], **shape.as_json()}, "temperature": 1.0,
        "files": {name: {"bytes": (folder / name).stat().st_size, "sha256": storage.sha256_file(folder / name)} for name in (*files, str(spec["file"]))},
    }  # fmt: skip
    storage.write_json(folder / DESCRIPTION, described)
    return artifact(folder)


def export(
    module: Any, spec: Mapping[str, Any], tokenizer: Any, folder: Path, *, precision: Literal["int8", "fp32", "auto"], judge: Judge, gate: Gate,
    rows: Sequence[Row], log: RunLog, student: str = "transformer",
) -> tuple[Artifact, dict[str, Any]]:  # fmt: skip
    """Write the smallest artifact that passes ``gate`` on what ``judge`` says; return it, and what each step cost: :func:`ladder.export` for tokens.

    ``rows`` (of validation) and odd texts hold it to ``module``. Raises :class:`PotstillError` where the fp32 graph is not what was trained.
    """

    def step(method: Method) -> Step:
        write(module, spec, tokenizer, folder, method, student=student)
        generator = Generator.open(folder)
        found = parity(module, generator, [*rows[:ROWS], *odd()])
        return Step(WRITTEN[method][0], method, storage.size_of(folder), judge(generator), found)

    whole = step("fp32")
    if not whole.parity.max_abs_diff <= TOLERANCE + DIGITS * whole.parity.scale:
        raise PotstillError(f"the exported model differs from the trained one by {whole.parity.max_abs_diff:.2g} in its logits", place=str(folder))
    if precision == "fp32":
        return artifact(folder), {"steps": [whole.told(whole, True, "the recipe asks for fp32")]}
    tried, fault = [], None
    for method in INT8:
        small = step(method)
        fault = gate.fault(whole, small)
        tried.append(small.told(whole, not fault, fault or f"loses {small.loss(whole):.4f} on validation, {gate.max_loss:g} is allowed"))
        if not fault:
            break
    told = whole.told(whole, bool(fault), f"int8 {fault}" if fault else "int8 passes the gate and is smaller")
    if fault:
        log.warn(f"int8 {fault}: fp32 is kept")
        write(module, spec, tokenizer, folder, "fp32", student=student)
    return artifact(folder), {"steps": [told, *tried]}


def odd() -> list[Row]:
    """Return texts that few think of: spaces, other scripts, long ones. None is empty: nothing would be foretold of it."""
    return [{"text": text} for text in ODD if text]


def parity(module: Any, generator: Generator, rows: Sequence[Row]) -> Foretold:
    """Compare the model, which reads each window whole and without a cache, with the artifact, which reads on by its cache."""
    diff, scale, kl, same, positions = 0.0, 1.0, 0.0, 0, 0
    for row in rows:
        chunks = generator.scores(row)
        made, exact = (np.concatenate([np.zeros((0, generator.vocabulary), np.float32), *found]) for found in (chunks, _exact(module, generator, row)))
        if not len(exact):
            continue
        apart = np.abs(made.astype(np.float64) - exact).max()
        diff, scale = max(diff, float(apart) if math.isfinite(apart) else math.inf), max(scale, float(np.abs(exact).max()))
        said, own = log_probabilities(exact), log_probabilities(made)
        kl += float((np.exp(said) * (said - own)).sum(dtype=np.float64))
        same += int((said.argmax(axis=1) == own.argmax(axis=1)).sum())
        positions += len(exact)
    count = max(positions, 1)
    return Foretold(round(diff, 8), round(max(0.0, kl / count), 8), round(same / count, 6), positions, len(rows), round(scale, 3))


def _exact(module: Any, generator: Generator, row: Row) -> list[np.ndarray]:
    found = []
    with torch.inference_mode(), evaluating(module):
        for window in generator.turns.windows(generator.prepare(row)):
            ids = torch.from_numpy(window.ids[None].astype(np.int64)).to(module.device)
            logits = module(input_ids=ids, use_cache=False).logits[0]
            found.append(logits[torch.from_numpy(np.flatnonzero(window.learnt) - 1).to(module.device)].float().cpu().numpy())
    return found


def _tensors(module: Any) -> dict[str, np.ndarray]:
    """Return the weights by name, float32; a tied head's table once, under the embedding's name."""
    found = {name: tensor.detach().float().cpu().numpy() for name, tensor in module.state_dict().items()}
    if module.lm_head.weight.data_ptr() == module.model.embed_tokens.weight.data_ptr():
        del found["lm_head.weight"]
    return found | {"inv_freq": module.model.rotary_emb.inv_freq.detach().float().cpu().numpy()}


def _save(graph: onnx.ModelProto, folder: Path) -> list[str]:
    """Write the graph, and its weights into a file of their own where one would be too large; return the files' names."""
    (folder / DATA).unlink(missing_ok=True)  # of an earlier, larger graph
    if sum(len(tensor.raw_data) for tensor in graph.graph.initializer) <= LARGEST:
        storage.write_bytes(folder / MODEL, graph.SerializeToString(deterministic=True), point="export")
        return [MODEL]
    convert_model_to_external_data(graph, all_tensors_to_one_file=True, location=DATA)
    with storage.disk_errors(folder):
        onnx.save_model(graph, str(folder / MODEL))
    return [MODEL, DATA]

"""Step 2, its last part: what a model teacher computes in. `auto` tries what this machine has on real rows, against fp32."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from .. import rng, storage
from ..cache import Stage
from ..contracts import Teacher
from ..errors import PotstillError
from ..lookup import load
from ..records import Answered, Example, Head, Want
from ..workspace import Workspace
from .data import Data, fields

LOGPROBS = Want("logprobs")
GRAPHS = {"onnx-fp32": "fp32", "onnx-int8": "int8"}  # the precisions that need a graph of the model
CANDIDATES = ("bf16", *GRAPHS)
# Rows whose two best int8 logits lie nearer than this are asked again in fp32: then the 1,000 rows of SST-2's probe were all decided alike.
# Measured with dynamic scales, which are no more exact: of 2,000 SST-2 sentences 11 were decided otherwise, all within 0.37 of a tie, and
# 2 in 100 rows are that doubtful; of 2,000 ICD texts all that were decided otherwise lay within 0.45.
DOUBT, EXACT = 0.5, "exact.onnx"
SHOWN = 128  # rows that show int8 what activations hold
ROWS, SLICES = 1000, 4  # of the probe: every candidate answers every slice in turn, so that a busy machine is busy for all of them
SAME = 0.995  # the share of decisions that must equal fp32's
FASTER = 1.05  # assumed: less than this is noise, and no reason to leave fp32
SHALLOW = frozenset({"logits", "hard"})  # objectives that need no more than log-probabilities


@dataclass(frozen=True)
class Chosen:
    """The teacher's section with its precision named, the folder of its graph where it needs one, and what the probe found, if any."""

    spec: Any
    graph: Path | None = None
    probe: Mapping[str, Any] | None = None


def choose(work: Workspace, data: Data, spec: Any, folder: Path, made_of: str) -> Chosen:
    """Return what the teacher in ``folder``, whose weights have the fingerprint ``made_of``, is asked in."""
    probe = None
    if spec.precision == "auto":
        probe = _probe(work, data, spec, folder, made_of).read()
        work.log.say(f"the teacher's precision: {probe['why']}")
        spec = spec.model_copy(update={"precision": probe["chosen"]})
    graph = _graph(work, data, spec, folder, made_of).folder if spec.precision in GRAPHS else None
    return Chosen(spec, graph, probe)


# ---------------------------------------------------------------------------------------------------------- the graph
def _graph(work: Workspace, data: Data, spec: Any, folder: Path, made_of: str) -> Stage:
    """Export the model: all of its layers are those of a student, so the students' exporter makes its graph."""
    precision = GRAPHS[spec.precision]
    shown = _some(data, "activations", SHOWN) if precision == "int8" else []

    def make(out: Path, scratch: Path) -> None:
        with work.log.stage("graph", f"making the teacher's graph in {spec.precision}"):
            id2label = load("potstill.students.source:read_config")(folder).id2label
            own = Head("classes", tuple(str(id2label[i]) for i in range(len(id2label))))
            whole = load("potstill.students.transformer:cut")(folder, own, layers=None, fields=fields(data), seed=0, max_length=spec.max_length)
            model, files = load("potstill.export.to_onnx:to_onnx")(whole), ["model.onnx", "tokenizer.json"]
            if precision == "int8":
                files.append(EXACT)
                storage.write_bytes(out / EXACT, model.SerializeToString(deterministic=True))
                rows = [whole.preprocess.collate([item]) for item in whole.preprocess.encode([row.fields for row in shown])]
                model = load("potstill.export.int8:to_int8")(model, load("potstill.export.int8:watch")(model, rows)).model
            storage.write_bytes(out / "model.onnx", model.SerializeToString(deterministic=True))
            whole.save_preprocess(out)
            described = {
                "schema": load("potstill.serving.predictor:SCHEMA"), "format": "onnx", "model": "model.onnx", "precision": precision,
                "architecture": type(whole.module).__name__, "parameters": whole.parameters, "preprocess": whole.preprocess_spec(),
                "head": {"kind": "classes", "labels": list(own.labels)}, "temperature": 1.0,
                "files": {name: {"bytes": (out / name).stat().st_size} for name in files},
                "again": {"model": EXACT, "margin": DOUBT} if precision == "int8" else None,
            }  # fmt: skip
            storage.write_json(out / load("potstill.serving.predictor:DESCRIPTION"), described)

    inputs = {
        "model": made_of, "precision": precision, "max_length": spec.max_length, "fields": fields(data),
        "doubt": DOUBT if precision == "int8" else None, "shown": [row.id for row in shown],
    }  # fmt: skip
    return work.shared.get("graph", inputs, make)


# ---------------------------------------------------------------------------------------------------------- the probe
def _probe(work: Workspace, data: Data, spec: Any, folder: Path, made_of: str) -> Stage:
    rows = _some(data, "probe", ROWS)
    deep = _deep(work)
    machine = load("potstill.measuring.machine:machine")(work.threads)

    def opened(precision: str) -> Teacher:
        named = spec.model_copy(update={"precision": precision})
        graph = _graph(work, data, named, folder, made_of).folder if precision in GRAPHS else None
        teacher: Teacher = load("potstill.teachers.build:build")(named, data.head, folder=folder, graph=graph, threads=work.threads)
        return teacher

    def make(out: Path, scratch: Path) -> None:
        with work.log.stage("probe", f"looking for the teacher's fastest precision on {len(rows):,} rows"):
            left_out = dict(_left_out(deep))
            trials = {"fp32": opened("fp32")}
            for name in CANDIDATES:
                try:
                    trials |= {} if name in left_out else {name: opened(name)}
                except PotstillError as error:  # an architecture that can't be exported: said, and no reason to stop
                    left_out[name] = error.message.splitlines()[0]  # not its place: a path, and this goes into the card
            storage.write_json(out / "result.json", _judged(_tried(trials, rows, _clock(work.threads)), left_out, len(rows)))

    inputs = {
        "model": made_of, "asked": spec.model_dump(mode="json", include={"max_length", "batch_size", "labels"}), "rows": [row.id for row in rows],
        "labels": data.head.labels, "deep": deep, "machine": {key: machine[key] for key in ("cpu", "precision", "devices", "threads")},
    }  # fmt: skip
    return work.shared.get("precision", inputs, make)


def _some(data: Data, name: str, count: int) -> list[Example]:
    """Return rows of those that may be learnt from, by a seeded order of their own."""
    return sorted((*data.train, *data.unlabeled), key=lambda row: rng.integer(0, name, row.id))[:count]


def _deep(work: Workspace) -> list[str]:
    """Return what needs more of the teacher than log-probabilities, by name: hidden states and vectors don't leave a graph."""
    recipe = work.recipe
    kinds = {term.kind for student in recipe.students for term in recipe.objectives_of(student)} - SHALLOW
    return sorted(f"the objective '{kind}'" for kind in kinds) + (["choose: near_disagreements"] if recipe.rounds.choose == "near_disagreements" else [])


def _left_out(deep: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the candidates that need not be tried, each with the reason."""
    native = load("potstill.training.precision:resolve")("auto")
    if native.name != "bf16":
        yield "bf16", native.reason
    why = f"{deep[0]} needs what only torch gives" if deep else "the model runs on a GPU, its graph would not"
    if deep or load("torch:cuda").is_available():
        yield from ((name, why) for name in GRAPHS)


def _clock(threads: int) -> Callable[[], float]:
    """Return what is measured by: one thread's processor time, which neighbors don't lengthen; else the wall's."""
    return time.process_time if threads == 1 and not load("torch:cuda").is_available() else time.perf_counter


def _tried(trials: Mapping[str, Teacher], rows: Sequence[Example], clock: Callable[[], float]) -> dict[str, dict[str, Any]]:
    """Return, by precision, the share of decisions that equal fp32's, rows a second, and how many times as fast as fp32 it is."""
    decided: dict[str, list[int]] = {name: [] for name in trials}
    seconds: dict[str, list[float]] = {name: [] for name in trials}
    for teacher in trials.values():
        list(teacher.answer(rows[:8], [LOGPROBS]))  # the first call makes what the others find
    for part in (rows[start::SLICES] for start in range(SLICES)):
        for name, teacher in trials.items():
            began = clock()
            said = dict(teacher.answer(part, [LOGPROBS]))
            seconds[name].append(clock() - began)
            decided[name] += [_decision(said[row.id]) for row in part]
    reference = np.array(decided["fp32"])
    return {
        name: {
            "same": float((np.array(decided[name]) == reference)[reference >= 0].mean()) if (reference >= 0).any() else 0.0,
            "rows_per_s": len(rows) / sum(took), "times": median(base / own for base, own in zip(seconds["fp32"], took)),
        }
        for name, took in seconds.items()
    }  # fmt: skip


def _decision(answer: Any) -> int:
    return int(answer.arrays[LOGPROBS].argmax()) if isinstance(answer, Answered) else -1


def _judged(tried: Mapping[str, Mapping[str, Any]], left_out: Mapping[str, str], rows: int) -> dict[str, Any]:
    """Return the fastest of those that answer as fp32 does, and why it is that one."""
    fit = {name: found["times"] for name, found in tried.items() if found["same"] >= SAME and found["times"] >= FASTER}
    chosen = max(fit, key=lambda name: fit[name], default="fp32")
    told = [f"{name}: {found['same']:.1%} of fp32's answers, {found['times']:.1f} times as fast" for name, found in tried.items() if name != "fp32"]
    told += [f"{name}: {reason}" for name, reason in left_out.items()]
    why = f"{chosen}, of what was tried on {rows:,} rows ({'; '.join(told)}); {SAME:.1%} are asked for"
    return {"chosen": chosen, "why": why, "rows": rows, "required": SAME, "tried": dict(tried), "left_out": dict(left_out)}

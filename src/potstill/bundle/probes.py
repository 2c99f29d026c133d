"""Probes: inputs whose answers are stored with the bundle, and asked again wherever it goes. Odd ones first, then rows of validation."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import BundleError
from ..records import Field

SCHEMA = 1
ODD = {
    "empty": "", "space": " ", "longest": "word " * 2000, "greek": "Ελληνικά κείμενο", "chinese": "中文文本，没有空格", "arabic": "نص عربي",
    "emoji": "👩‍👩‍👧 thanks!",
}  # fmt: skip

# Of log-probabilities. The same processor and runtime repeat to the last digit, bar threads. Elsewhere another kernel rounds
# activations to another int8 step here and there: 0.1 is assumed, fp32 differs by 1e-5.
SAME, ELSEWHERE = 1e-3, {"fp32": 1e-3, "int8": 1e-1}
# Of a language model's: its blocks' rounding is another kernel's, too, and what it rounds goes through all of its layers: assumed, in nats of a token.
SPOKEN_ELSEWHERE = {"fp32": 1e-2, "int8": 5e-1}
SPOKEN_TOKENS = 16  # of each answer that is kept
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")  # what ONNX Runtime picks its kernels by

Predict = Callable[[Sequence[Mapping[str, Field]]], np.ndarray]
Decide = Callable[[np.ndarray], list[str | list[str]]]


class Said(Protocol):
    """A completion: its text, its tokens, how likely each was (natural log), and by how much likelier than the next likeliest."""

    @property
    def text(self) -> str: ...

    @property
    def ids(self) -> tuple[int, ...]: ...

    @property
    def logprobs(self) -> tuple[float, ...]: ...

    @property
    def margins(self) -> tuple[float, ...]: ...


class Speaker(Protocol):
    """A language model at work: what it says when it takes the likeliest token each time."""

    def generate(self, rows: Sequence[Mapping[str, Field]], *, max_tokens: int) -> Sequence[Said]: ...


@dataclass(frozen=True)
class Probe:
    """One input with the answer that the artifact gave when it was made: log-probabilities, of labels log-odds *Shape:* (classes,) float32.

    A language model's: ``label`` is what it said, ``ids`` its tokens, ``logprobs`` and ``margins`` (see :class:`Said`) theirs *Shape:* (tokens,).
    """

    name: str
    fields: Mapping[str, Field]
    label: str | list[str]
    logprobs: np.ndarray
    ids: tuple[int, ...] = ()
    margins: tuple[float, ...] = ()

    def as_json(self) -> dict[str, Any]:
        made = {"name": self.name, "fields": dict(self.fields), "label": self.label, "logprobs": [round(float(x), 6) for x in self.logprobs]}
        return made | ({"ids": list(self.ids), "margins": [round(x, 6) for x in self.margins]} if self.ids else {})

    @staticmethod
    def parse(found: Mapping[str, Any]) -> Probe:
        logprobs = np.asarray(found["logprobs"], np.float32)
        return Probe(found["name"], found["fields"], found["label"], logprobs, tuple(found.get("ids", ())), tuple(found.get("margins", ())))


@dataclass(frozen=True)
class Probes:
    """A bundle's probes, where they were answered, and by which precision."""

    probes: tuple[Probe, ...]
    made_on: Mapping[str, str]
    precision: str

    @property
    def tolerance(self) -> float:
        """Return how far a log-probability may be from the stored one, here."""
        elsewhere = SPOKEN_ELSEWHERE if self.spoken else ELSEWHERE
        return SAME if self.made_on == runtime() else elsewhere.get(self.precision, max(elsewhere.values()))

    @property
    def spoken(self) -> bool:
        """Whether a language model answered them."""
        return any(probe.ids for probe in self.probes)

    def as_json(self) -> dict[str, Any]:
        rows = [probe.as_json() for probe in self.probes]
        return {"schema": SCHEMA, "made_on": dict(self.made_on), "precision": self.precision, "probes": rows}

    @staticmethod
    def parse(found: Any, place: str) -> Probes:
        """Return what :meth:`as_json` wrote. Raises :class:`BundleError`."""
        remedy = "fetch the bundle again, or make it again from its run"
        try:
            if found["schema"] > SCHEMA:
                raise BundleError(f"probes of a newer potstill (schema {found['schema']})", place=place, remedy="install that version")
            return Probes(tuple(map(Probe.parse, found["probes"])), found["made_on"], found["precision"])
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"the probes can't be read: {error!r}", place=place, remedy=remedy) from error


def ask(rows: Sequence[Mapping[str, Field]], *, fields: Sequence[str], predict: Predict, decide: Decide, precision: str) -> Probes:
    """Return the odd inputs, each in every field, and ``rows`` (of validation, never of test), with what ``predict`` and ``decide`` say."""
    asked: list[tuple[str, Mapping[str, Field]]] = [(name, dict.fromkeys(fields, text)) for name, text in ODD.items()]
    asked += [(f"validation {i}", {field: row[field] for field in fields}) for i, row in enumerate(rows)]
    said = predict([row for _, row in asked])
    made = tuple(Probe(name, row, told, answer) for (name, row), told, answer in zip(asked, decide(said), said))
    return Probes(made, runtime(), precision)


def spoken(rows: Sequence[Mapping[str, Field]], *, speaker: Speaker, precision: str) -> Probes:
    """Return the odd inputs as prompts, but for the empty one, and ``rows`` (of validation) without their completions, with what ``speaker`` says."""
    asked: list[tuple[str, Mapping[str, Field]]] = [(name, {"prompt": text}) for name, text in ODD.items() if text]
    asked += [(f"validation {i}", {name: value for name, value in row.items() if name != "completion"}) for i, row in enumerate(rows)]
    said = speaker.generate([row for _, row in asked], max_tokens=SPOKEN_TOKENS)
    made = tuple(
        Probe(name, row, one.text, np.asarray(one.logprobs, np.float32), tuple(one.ids), tuple(one.margins)) for (name, row), one in zip(asked, said)
    )  # fmt: skip
    return Probes(made, runtime(), precision)


def runtime() -> dict[str, str]:
    """Return what int8 answers depend on beside the model: the processor and the version of ONNX Runtime."""
    try:
        version = importlib.metadata.version("onnxruntime")
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    return {"machine": platform.machine(), "processor": _processor(), "onnxruntime": version}


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor()
    facts = dict(line.partition(":")[::2] for line in path.read_text("utf-8", "replace").split("\n\n")[0].splitlines())
    told = {name.strip(): value.strip() for name, value in facts.items()}
    flags = set((told.get("flags") or told.get("Features") or "").split())
    return " ".join([told.get("model name", ""), *(flag for flag in FLAGS if flag in flags)]).strip()

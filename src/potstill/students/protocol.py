"""What training, the exporter and the objectives may rely on: a student that learns by gradient steps, or one with a fit of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from torch import Tensor, nn

    from ..objectives.tokens.heads import Head as TokenHead
    from ..records import Head
    from ..serving.preprocess import Item, Preprocess


@dataclass(frozen=True)
class Attention:
    """What attends to what in one batch: the queries, keys and values of some layers, from 1.

    *Shapes:* vectors (rows, length, width), ``mask`` bool (rows, length), True for real tokens. Rows are kept apart here, because
    relations are between the tokens of one row.
    """

    vectors: Mapping[int, Sequence[Tensor]]
    mask: Tensor


@dataclass(frozen=True)
class Output:
    """What a student says about one batch.

    ``logits``: *Shape:* (units, classes); a unit is a supervised position, one a row for classes.
    ``hidden``: None unless asked for; else one tensor *Shape:* (tokens, width) for each of layers 0 (embeddings) to
    ``hidden_layers``. ``tokens`` are the real tokens of all rows, in row order, padding left out: they align with the
    teacher's hidden answers laid end to end. ``attention``: None unless a term reads it; the learner adds it, by hooks.
    """

    logits: Tensor
    hidden: tuple[Tensor, ...] | None = None
    attention: Attention | None = None


class LoopStudent(Protocol):
    """A student that the loop trains. Its preprocessing is data, so that what ships needs none of this."""

    kind: str
    learns: Literal["loop"]
    head: Head
    preprocess: Preprocess
    hidden_layers: int  # the last layer in Output.hidden; 0: it has no hidden states to teach
    width: int  # of its hidden states
    parameters: int  # count

    @property
    def module(self) -> nn.Module:
        """All that is trained and saved; nothing of the teacher's (TRAPS.md 34)."""

    def forward(self, batch: dict[str, Tensor], hidden: bool = False) -> Output:
        """Answer a batch made by ``preprocess.collate``, each array *Shape:* (rows, length) int64."""

    def save(self, folder: Path) -> None:
        """Write the model in its ecosystem's format, its preprocessing files and ``student.json``."""

    def preprocess_spec(self) -> dict[str, Any]:
        """Return the spec that ``serving.preprocess.build`` reads: plain JSON."""

    def save_preprocess(self, folder: Path) -> None:
        """Write the files that ``preprocess_spec`` names; no-op where it names none."""

    def export_module(self) -> nn.Module:
        """Return a module on the CPU, in eval mode: ``preprocess.inputs`` in order and by position in, logits (rows, classes) out.

        It shares no state that exporting could change with ``module``; attention is eager.
        """


class TokenStudent(LoopStudent, Protocol):
    """A student that writes. Its logits never stand in memory as a whole: it gives what goes into its head, and the head."""

    def states(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the last states *Shape:* (lines, length, width) of a batch of :class:`potstill.serving.turns.Turns`, packed or not."""

    def token_head(self) -> TokenHead:
        """Return what makes logits of states; its tensors are the module's own."""


class FitStudent(Protocol):
    """A student that a library fits: no gradient steps, no torch. What trains it is named in ``build.KINDS``."""

    kind: str
    learns: Literal["fit"]
    head: Head
    preprocess: Preprocess
    hidden_layers: int  # 0: it has no hidden states to teach
    width: int  # 0

    @property
    def parameters(self) -> int:
        """The count of all numbers that were learnt."""

    def scores(self, items: Sequence[Item]) -> np.ndarray:
        """Return the logits *Shape:* (rows, classes) float32 of items that ``preprocess.encode`` made."""

    def save(self, folder: Path) -> None:
        """Write the model in its library's format, and ``student.json``."""

    def preprocess_spec(self) -> dict[str, Any]:
        """Return the spec that ``serving.preprocess.build`` reads: plain JSON."""

    def save_preprocess(self, folder: Path) -> None:
        """Write the files that ``preprocess_spec`` names; no-op where it names none."""

    def graph(self, output: str) -> onnx.ModelProto:
        """Return the model as ONNX: the arrays of ``preprocess.collate`` in, ``output`` (rows, classes) float32 out."""


AnyStudent = LoopStudent | FitStudent

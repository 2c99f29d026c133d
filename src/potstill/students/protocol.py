"""What the training loop, the exporter and the objectives may rely on: a student that learns by gradient steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..records import Head
    from ..serving.preprocess import Preprocess


@dataclass(frozen=True)
class Output:
    """What a student says about one batch.

    ``logits``: *Shape:* (units, classes); a unit is a supervised position, one a row for classes.
    ``hidden``: None unless asked for; else one tensor *Shape:* (tokens, width) for each of layers 0 (embeddings) to
    ``hidden_layers``. ``tokens`` are the real tokens of all rows, in row order, padding left out: they align with the
    teacher's hidden answers laid end to end.
    """

    logits: Tensor
    hidden: tuple[Tensor, ...] | None = None


class LoopStudent(Protocol):
    """A student that the loop trains. Its preprocessing is data, so that what ships needs none of this."""

    kind: str
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

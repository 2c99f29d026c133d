"""From a student's section of the recipe, or a folder, to the student: one table, no ladder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import storage
from ..errors import UserError
from ..lookup import did_you_mean, require
from ..lookup import load as look_up
from ..records import Example, Head, HeadKind
from ..redact import Redactor
from .architectures import learning_rate
from .folder import read

if TYPE_CHECKING:
    from .protocol import AnyStudent


@dataclass(frozen=True)
class Defaults:
    """What a kind of student is trained with, where the recipe says nothing. A kind with a fit of its own has no epochs and no batches."""

    learning_rate: float
    epochs: int = 0
    batch_size: int = 0
    optimizer: str = "adamw"


@dataclass(frozen=True)
class Kind:
    """A kind of student: the module that builds and loads it, its defaults, and whether it begins with a model's folder.

    ``learns``: by the training loop, or by a fit of its own; ``needs``: packages beyond those of all kinds.
    """

    module: str
    defaults: Defaults
    from_model: bool
    learns: Literal["loop", "fit"] = "loop"
    needs: tuple[str, ...] = ()


# Measured on 9,500 ICD-10-CM texts with hard labels, validation accuracy: static 0.715 (half the rate 0.701, 2.5 times 0.708), n-grams
# 0.709 with embeddings of 64 dimensions (0.4 times the rate 0.689, 4 times 0.701). With scores in their place, on CR, TREC and SST-2 with soft labels:
# SGD 0.815, 0.884, 0.821; AdamW 0.815, 0.863, 0.807: its steps are as long for a rare n-gram as for a common one; a convex fit 0.815, 0.884, 0.810.
# The transformer's: see ``learning_rate``; its epochs are assumed. Convolutional 0.753 and
# 0.732 by two seeds (half the rate 0.735, twice 0.748, 10 epochs 0.748, dropout 0.3 0.746), recurrent 0.740 (dropout 0.3: 0.723 at the rate, 0.726
# at half, 0.706 at a quarter, 0.739 at twice), trees 0.688 in 45 rounds (half the rate 0.686 in 88, 15 leaves 0.693 in 100, 63 leaves 0.696).
# One standard error of such a figure is 0.012: what stands here is no worse than its neighbors, not better.
KINDS: Mapping[str, Kind] = {
    "transformer": Kind("potstill.students.transformer", Defaults(epochs=3, learning_rate=2e-4, batch_size=32), True),
    "static": Kind("potstill.students.static", Defaults(epochs=6, learning_rate=2e-3, batch_size=128), True),
    "ngram": Kind("potstill.students.ngram", Defaults(epochs=10, learning_rate=2.0, batch_size=64, optimizer="sgd"), False),
    "convolutional": Kind("potstill.students.convolutional", Defaults(epochs=6, learning_rate=1e-3, batch_size=64), True),
    "recurrent": Kind("potstill.students.recurrent", Defaults(epochs=6, learning_rate=4e-3, batch_size=64), True),
    "trees": Kind("potstill.students.trees", Defaults(learning_rate=0.2), False, learns="fit", needs=("lightgbm", "scipy")),
}


# A kind's module where a student is to write instead of to classify.
WRITING: Mapping[str, str] = {"transformer": "potstill.students.causal"}
EMBEDDED = Defaults(epochs=6, learning_rate=5e-3, batch_size=128)  # of n-grams whose rows are embeddings, read by a head


def learns(spec: Any) -> Literal["loop", "fit"]:
    """Return what trains ``spec.kind``. Light: loads no torch."""
    return _kind(spec.kind).learns


def check(specs: Iterable[Any]) -> None:
    """Raise :class:`MissingExtraError` where a student's kind needs a package that is not installed: before anything is spent on it."""
    for spec in specs:
        require(*_kind(spec.kind).needs, *(("peft",) if getattr(spec, "lora", None) else ()))


def options(spec: Any, source: Path | None = None) -> Defaults:
    """Return the defaults of ``spec.kind``; a transformer's rate falls with its width: that of the model in ``source``, or less. Light: loads no torch."""
    usual = _kind(spec.kind).defaults
    if spec.kind == "ngram" and (spec.dimensions or spec.hidden):
        return EMBEDDED
    if spec.kind != "transformer" or source is None or not (source / "config.json").is_file():
        return usual
    config = storage.read_json(source / "config.json")
    width, heads = config.get("hidden_size", config.get("dim")), config.get("num_attention_heads", config.get("n_heads"))
    bound = "num_key_value_heads" not in config  # a decoder's hidden size is free of its heads
    if width and heads and bound and getattr(spec, "heads", None) and getattr(spec, "source", None) != "scratch":
        width = spec.heads * width // heads  # heads are kept whole
    width = getattr(spec, "hidden", None) or width
    return usual if width is None else changed(usual, learning_rate=learning_rate(int(width)))


def build(
    spec: Any, head: Head, *, source: Path | None, fields: Sequence[str], seed: int, max_length: int, rows: Sequence[Example] = (),
    replace: Sequence[Mapping[str, str]] = (),
) -> AnyStudent:  # fmt: skip
    """Return a student as ``spec`` wants it, the same for the same seed.

    ``source``: folder of the model whose layers, embeddings or tokenizer it begins with; None for kinds that need none.
    ``fields``: what it reads of an example; ``max_length`` in tokens; ``rows``: those it will learn from, for kinds that look
    at them first; ``replace``: the rules by which it reads all texts, its user's too, see :class:`potstill.serving.preprocess.Replaced`.
    Raises :class:`UserError` where a model is needed and there is none.
    """
    if source is None and _kind(spec.kind).from_model:
        raise UserError(
            f"a {spec.kind} student begins with a model's weights, and there is no model",
            place="students.from",
            remedy="name a folder: from: PATH",
        )
    if replace:
        redactor = Redactor.plain(replace)
        rows = [changed(row, fields=redactor.fields(row.fields)) for row in rows]
    student = look_up(f"{_module(spec.kind, head.kind)}:build")(spec, head, source=source, fields=fields, seed=seed, max_length=max_length, rows=rows)
    if replace:
        student.spec["replace"] = [dict(rule) for rule in replace]
    return _reading(student, source or Path())


def load(folder: Path) -> AnyStudent:
    """Return the student that was saved to ``folder``; raises BundleError where there is none."""
    saved = read(folder)
    return _reading(look_up(f"{_module(saved['kind'], saved['head']['kind'], str(folder))}:load")(folder), folder)


def _reading(student: Any, folder: Path) -> AnyStudent:
    """Return the student, its preprocessing over replaced texts where its ``spec`` says so; all kinds alike, so none can forget it."""
    if student.spec.get("replace"):
        student.preprocess = look_up("potstill.serving.preprocess:replaced")(student.preprocess, student.spec, folder)
    made: AnyStudent = student
    return made


def _module(kind: str, head: HeadKind, place: str = "students.kind") -> str:
    """Return the module that builds and loads a kind of student with such a head."""
    usual = _kind(kind, place).module
    if head != "tokens":
        return usual
    if kind not in WRITING:
        raise UserError(f"a student of kind '{kind}' writes no text", place=place, remedy=f"take one of kind {', '.join(WRITING)}")
    return WRITING[kind]


def _kind(name: str, place: str = "students.kind") -> Kind:
    if name not in KINDS:
        raise UserError(f"no kind of student is called '{name}'", place=place, remedy=did_you_mean(name, KINDS))
    return KINDS[name]

"""The section ``students``: who learns. One model a kind."""

# ruff: noqa: RUF012 - pydantic copies a default before it gives it away

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from .base import Paths, Section, Slug, Text, one, tagged
from .objectives import Inner, Objective, Relations

RESERVED = ("teacher", "control", "floor", "majority")  # what stands beside the students in tables and folders
NO_PATHS: Mapping[str, tuple[str, ...]] = dict.fromkeys(("transformer", "convolutional", "recurrent"), ("teacher", "scratch"))  # as `from`, by kind
Whole = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, le=1)]


def _name(value: str) -> str:
    if value.lower() in RESERVED:
        one(f"'{value}' stands for something else in the tables", "choose another name")
    return value


def _layers(value: object) -> object:
    if type(value) is int and value >= 1:
        return value
    if isinstance(value, list) and value and all(type(n) is int and n >= 0 for n in value) and len(set(value)) == len(value):
        return value
    one(f"{value!r} are no layers", "say how many (3), or which, counted from 0: [0, 2, 5]")
    return value


def _sizes(value: object) -> object:
    if value is not None and not (isinstance(value, list) and value and all(type(n) is int and 1 <= n <= 8 for n in value)):
        one(f"{value!r} are no n-gram sizes", "give a list of whole numbers from 1 to 8: [1, 2]")
    return value


def _widths(value: object) -> object:
    if not (isinstance(value, list) and value and all(type(n) is int and 1 <= n <= 16 for n in value) and len(set(value)) == len(value)):
        one(f"{value!r} are no widths of filters", "give a list of different whole numbers of tokens: [3, 4, 5]")
    return value


def _power(value: int) -> int:
    if value & (value - 1):
        below = 1 << (value.bit_length() - 1)
        one(f"{value} is no power of two", f"take {below} or {2 * below}")
    return value


Sizes = Annotated[list[int], BeforeValidator(_sizes)]
Share = Annotated[float, Field(ge=0, lt=1)]
# used: the tokens of the rows that students learn from, and single characters for all others; a number: at most so many, the rarest fall apart
Vocabulary = Literal["all", "used"] | Annotated[int, Field(ge=2)]
Terms = Annotated[list[Objective], Field(min_length=1)]


class Student(Section):
    """What all kinds have in common. Null is the kind's own default."""

    name: Annotated[Slug, AfterValidator(_name)]
    objectives: Terms | None = None  # instead of the recipe's
    learning_rate: Rate | None = None


class LoopStudent(Student):
    """What the kinds have in common that learn by gradient steps."""

    epochs: Whole | None = None
    batch_size: Whole | None = None


class General(Section):
    """A first stage on plain text, before the task: the student learns what the teacher, as it was before it was adapted, is like inside
    (Jiao et al. 2020, arXiv:1909.10351, section 3.2). Kept for all recipes with the same teacher, student and text."""

    data: Paths  # plain text, a line a text (.txt), or a column `text` (JSONL, CSV, TSV, Parquet)
    objectives: Annotated[list[Inner], Field(min_length=1)] = [Relations()]
    epochs: Whole = 1
    max_rows: Whole | None = None  # the first so many by the hash of their content
    learning_rate: Rate | None = None
    batch_size: Whole | None = None


class Lora(Section):
    """Low-rank adapters learn, and nothing else; they are merged into the student that ships (Hu et al. 2021, arXiv:2106.09685)."""

    rank: Whole = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0  # what they add is times alpha / rank


def _unsaid(default: object) -> Any:
    """Leave an option out of what is written down while it is the default: recipes that are silent about it keep their fingerprints."""
    return Field(exclude_if=lambda value: value == default)


class TransformerStudent(LoopStudent):
    """Some of the layers of a transformer, the teacher or the model in a folder, as wide or narrower; or the same architecture from scratch.

    ``choose``, ``lora`` and ``checkpointing`` are for students that write.
    """

    kind: Literal["transformer"] = "transformer"
    source: Annotated[Text, Field(alias="from")] = "teacher"
    layers: Annotated[int | list[int], BeforeValidator(_layers)]
    max_length: Annotated[int, Field(ge=2)] | None = None
    vocabulary: Vocabulary = "all"
    heads: Whole | None = None  # these three: null is the source's; the most important ones are kept, the hidden size is heads x a head's size
    intermediate: Whole | None = None  # neurons of a feed-forward layer
    hidden: Whole | None = None
    general: General | None = None  # null: the student starts from the teacher's layers
    choose: Annotated[Literal["even", "importance"], _unsaid("even")] = "even"  # which layers: evenly spread, or those that the loss misses most
    lora: Annotated[Lora | None, _unsaid(None)] = None
    checkpointing: Annotated[bool, _unsaid(False)] = False  # less memory for a third more time: layers are computed twice

    @model_validator(mode="after")
    def _scratch(self) -> TransformerStudent:
        if self.source == "scratch" and not isinstance(self.layers, int):
            one(f"layers {self.layers} of a student from scratch: it has none to choose from", f"say how many: {len(self.layers)}")
        if self.choose == "importance" and (self.source == "scratch" or not isinstance(self.layers, int)):
            one("choose: importance chooses among a source's layers, and there is nothing to choose", "say how many layers, or leave choose out")
        return self


class StaticStudent(LoopStudent):
    """One vector a token, averaged, and a small head; the vectors come from a model's embeddings."""

    kind: Literal["static"] = "static"
    source: Annotated[Text, Field(alias="from")] = "teacher"
    dimensions: Annotated[int, Field(ge=1)] = 256
    hidden: Annotated[int, Field(ge=0)] = 128  # units of the head's hidden layer; 0: none
    max_length: Annotated[int, Field(ge=2)] | None = None
    vocabulary: Vocabulary = "all"


class NgramStudent(LoopStudent):
    """Hashed n-grams of words and characters: what each says for each class, summed; or an embedding each, and a head."""

    kind: Literal["ngram"] = "ngram"
    learning_rate: Annotated[float, Field(gt=0, le=100)] | None = None  # of SGD, where it learns scores: about 2
    buckets: Annotated[int, Field(ge=2, le=2**24), AfterValidator(_power)] = 131072
    dimensions: Whole | None = None  # null: a score for each class, or 64 where there are more classes or a hidden layer
    word_ngrams: Sizes = [1, 2]
    char_ngrams: Annotated[list[int] | None, BeforeValidator(_sizes)] = [3, 5]
    hidden: Annotated[int, Field(ge=0)] = 0  # units of a hidden layer; 0: none


class ConvolutionalStudent(LoopStudent):
    """Filters over a few neighboring subwords each, the strongest answer of each filter, and a linear map (Kim 2014, arXiv:1408.5882)."""

    kind: Literal["convolutional"] = "convolutional"
    source: Annotated[Text, Field(alias="from")] = "teacher"  # whose tokenizer and embeddings; scratch: the teacher's tokenizer alone
    dimensions: Whole = 128  # of the embeddings
    widths: Annotated[list[int], BeforeValidator(_widths)] = [3, 4, 5]  # tokens
    filters: Whole = 100  # of each width
    dropout: Share = 0.5
    max_length: Annotated[int, Field(ge=2)] | None = None


class RecurrentStudent(LoopStudent):
    """Bidirectional LSTM layers over subwords, and a linear map of their last states (Tang et al. 2019, arXiv:1903.12136)."""

    kind: Literal["recurrent"] = "recurrent"
    source: Annotated[Text, Field(alias="from")] = "teacher"  # as for a convolutional student
    dimensions: Whole = 128
    hidden: Whole = 128  # units in each direction
    layers: Whole = 1
    dropout: Share = 0.5
    max_length: Annotated[int, Field(ge=2)] | None = None


class TreesStudent(Student):
    """Gradient-boosted trees over counts of hashed n-grams; they need no tokenizer, no vectors and no graphics card."""

    kind: Literal["trees"] = "trees"
    buckets: Annotated[int, Field(ge=2, le=2**16), AfterValidator(_power)] = 4096
    word_ngrams: Sizes = [1, 2]
    char_ngrams: Annotated[list[int] | None, BeforeValidator(_sizes)] = [3, 5]
    rounds: Whole = 200  # at most: each adds one tree a class
    leaves: Annotated[int, Field(ge=2)] = 31  # of a tree, at most
    patience: Whole = 25  # rounds without gain on validation until it stops


AnyStudent = tagged(TransformerStudent, StaticStudent, NgramStudent, ConvolutionalStudent, RecurrentStudent, TreesStudent)
USES_HIDDEN: tuple[type[Any], ...] = (TransformerStudent,)  # the kinds that have inner states to match
WRITING_ONLY = ("choose", "lora", "checkpointing")  # a transformer's options that a classifier has not
SHAPE = ("heads", "intermediate", "hidden")  # a transformer's widths: those that it leaves out are no part of a fingerprint


def unshaped(student: Any) -> set[str]:
    """Return the widths that a transformer leaves out."""
    return {name for name in SHAPE if getattr(student, name) is None} if isinstance(student, TransformerStudent) else set()


def reads_rows(student: Any) -> bool:
    """Return whether a student's widths, or its layers, are chosen by rows that it learns from."""
    by_rows = isinstance(student, TransformerStudent) and (len(unshaped(student)) < len(SHAPE) or student.choose == "importance")
    return by_rows and student.source != "scratch"

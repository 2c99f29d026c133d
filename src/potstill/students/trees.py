"""A student of boosted trees: LightGBM over counts of hashed n-grams. It has its own fit; torch is not needed, nor any model.

Ke et al. 2017, "LightGBM: a highly efficient gradient boosting decision tree". It was chosen for its wheel (3.5 MB), for objectives
of one's own over all classes at once, for sparse features, and for a text format that ONNX can be written from.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from .. import storage
from ..errors import BundleError, UserError
from ..records import Example, Head
from ..serving.preprocess import Counts, Item, Preprocess
from . import forest, readme
from .folder import head_of, read, write
from .grams import preprocessing

if TYPE_CHECKING:
    import onnx

try:
    import lightgbm
except OSError as error:  # its compiled part needs the system's OpenMP
    raise UserError(f"LightGBM can't be loaded: {error}", remedy="install the OpenMP runtime: `apt-get install libgomp1`, or `brew install libomp`") from error

MODEL = "model.txt"


@dataclass
class TreesStudent:
    """One tree a class in every round; their sums are the logits. Without ``model``, LightGBM's text, it has not learnt yet."""

    head: Head
    spec: dict[str, Any]  # preprocessing
    model: str = ""
    kind: str = "trees"
    learns: Literal["fit"] = "fit"
    hidden_layers: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        self.preprocess: Preprocess = Counts.read(self.spec, Path())

    @property
    def parameters(self) -> int:
        """Splits, each a feature and a threshold, and leaves."""
        return sum(2 * len(tree.splits) + len(tree.values) for tree in forest.parse(self.model))

    def scores(self, items: Sequence[Item]) -> np.ndarray:
        """Return the logits *Shape:* (rows, classes) float32, summed in float64."""
        booster = lightgbm.Booster(model_str=self.model)
        found = booster.predict(matrix(items, self.spec["buckets"]), raw_score=True, num_threads=1)
        return np.asarray(found, np.float32)

    def save(self, folder: Path) -> None:
        storage.write_text(folder / MODEL, self.model)
        storage.write_text(folder / "README.md", readme.trees())
        write(folder, kind=self.kind, spec={}, head=self.head, preprocess=self.spec)

    def preprocess_spec(self) -> dict[str, Any]:
        return copy.deepcopy(self.spec)

    def save_preprocess(self, folder: Path) -> None:
        """No-op: the spec says it all."""

    def graph(self, output: str) -> onnx.ModelProto:
        (name,) = self.preprocess.inputs
        return forest.to_onnx(forest.parse(self.model), features=self.spec["buckets"], classes=self.head.width, name=name, output=output)


def matrix(items: Sequence[Item], buckets: int) -> sparse.csr_matrix:
    """Return the counts of items *Shape:* (rows, buckets) float32: :meth:`Counts.collate` without its zeros."""
    ends = np.cumsum([0, *(len(item["ids"]) for item in items)])
    columns = np.concatenate([np.zeros(0, np.int64), *(item["ids"] for item in items)]) - 1
    found = sparse.csr_matrix((np.ones(len(columns), np.float32), columns, ends), shape=(len(items), buckets))
    found.sum_duplicates()
    return found


def build(
    spec: Any, head: Head, *, source: Path | None = None, fields: Sequence[str], seed: int = 0, max_length: int = 0, rows: Sequence[Example] = ()
) -> TreesStudent:
    """Return a student that has not learnt yet; only ``spec``'s features and ``fields`` are needed."""
    return TreesStudent(head, preprocessing("counts", spec, fields))


def load(folder: Path) -> TreesStudent:
    """Return the student that :meth:`TreesStudent.save` wrote; raises :class:`BundleError` where its model is missing."""
    saved = read(folder, "trees")
    try:
        model = (folder / MODEL).read_text("utf-8")
    except OSError as error:
        raise BundleError(f"its trees can't be read: {error}", place=str(folder / MODEL), remedy="restore the file, or train it again") from error
    return TreesStudent(head_of(saved), saved["preprocess"], model)

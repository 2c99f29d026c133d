"""Write a bundle: everything that the student needs where it goes, and everything that must be known of it there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import storage
from ..records import Artifact, Field
from .card import model_card

SCHEMA = 1
ODD = {
    "empty": "", "space": " ", "longest": "word " * 2000, "greek": "Ελληνικά κείμενο", "chinese": "中文文本，没有空格", "arabic": "نص عربي",
    "emoji": "👩‍👩‍👧 thanks!",
}  # fmt: skip
PROBES = "probes.json"
Predict = Callable[[Sequence[Mapping[str, Field]]], np.ndarray]


def write(
    folder: Path, artifact: Artifact, *, facts: Mapping[str, Any], calibration: Mapping[str, Any], rows: Sequence[Mapping[str, Field]],
    fields: Sequence[str], labels: Sequence[str], predict: Predict,
    made_from: str = "",
) -> None:  # fmt: skip
    """Fill ``folder``; it is complete when its manifest is there.

    ``made_from`` is the digest of what the facts stand on. ``predict`` is the artifact's own: what it answers to the probes is stored,
    and asked again by ``verify`` and at every server's
    start. ``rows`` are validation rows for probes, never test rows; ``facts`` is what the model card tells.
    """
    probes: list[dict[str, Any]] = [{"name": name, "fields": {field: text for field in fields}} for name, text in ODD.items()]
    probes += [{"name": f"validation {i}", "fields": dict(row)} for i, row in enumerate(rows)]
    said = predict([probe["fields"] for probe in probes])
    for probe, logprobs in zip(probes, said):
        probe |= {"label": labels[int(logprobs.argmax())], "logprobs": [round(float(x), 6) for x in logprobs]}
    manifest = {"schema": SCHEMA, "kind": "bundle", "artifact": artifact.sha256, "precision": artifact.precision, "made_from": made_from}
    with storage.new_folder(folder, manifest, point="bundle") as partial:
        for path in sorted(artifact.folder.iterdir()):
            shutil.copyfile(path, partial / path.name)
        storage.write_json(partial / "labels.json", {str(i): label for i, label in enumerate(labels)})
        storage.write_json(partial / "calibration.json", dict(calibration))
        storage.write_json(partial / PROBES, probes)
        storage.write_text(partial / "README.md", model_card(facts))
        storage.write_text(partial / "requirements.txt", "potstill[serve]\n")

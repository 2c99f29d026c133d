"""Write a bundle: everything that the student needs where it goes, and everything that must be known of it there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import storage
from ..records import Artifact, Field
from .card import model_card
from .probes import Decide, Predict, Speaker, ask, runtime, spoken
from .read import CALIBRATION, CARD, LABELS, PROBES, REQUIREMENTS, SCHEMA


def write(
    folder: Path, artifact: Artifact, *, facts: Mapping[str, Any], calibration: Mapping[str, Any], rows: Sequence[Mapping[str, Field]],
    fields: Sequence[str] = (), labels: Sequence[str] = (), predict: Predict | None = None, decide: Decide | None = None, speaker: Speaker | None = None,
    made_from: str = "",
) -> None:  # fmt: skip
    """Fill ``folder``; it is complete when its manifest is there. A folder that stood there is replaced.

    ``facts`` is what the model card tells (:func:`card.model_card`), ``made_from`` the digest of what they stand on.
    ``predict`` and ``decide`` are the artifact's own: what it answers to the probes is stored, and asked again by ``verify`` and at
    every server's start; of a language model that is what its ``speaker``, a generator, says. ``rows`` are validation rows for probes, never test rows.
    """
    if speaker is not None:
        probes = spoken(rows, speaker=speaker, precision=artifact.precision)
    elif predict is not None and decide is not None:
        probes = ask(rows, fields=fields, predict=predict, decide=decide, precision=artifact.precision)
    else:
        raise ValueError("a bundle needs predict and decide, or a speaker")
    manifest = {"schema": SCHEMA, "kind": "bundle", "artifact": artifact.sha256, "precision": artifact.precision, "made_from": made_from}
    with storage.new_folder(folder, manifest, point="bundle") as partial:
        for path in sorted(artifact.folder.iterdir()):
            shutil.copyfile(path, partial / path.name)
        storage.write_json(partial / LABELS, {str(i): label for i, label in enumerate(labels)})
        storage.write_json(partial / CALIBRATION, dict(calibration))
        storage.write_json(partial / PROBES, probes.as_json())
        storage.write_text(partial / CARD, model_card(facts))
        storage.write_text(partial / REQUIREMENTS, f"potstill[serve]\nonnxruntime  # the probes were answered by {runtime()['onnxruntime']}\n")

"""Is a bundle whole, and does it answer as it did when it was made?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import storage
from ..errors import BundleError, Problem
from ..records import Field
from .write import PROBES, SCHEMA

TOLERANCE = 1e-2  # of log-probabilities: another CPU's int8 kernels differ in the third digit
MEND = "fetch the bundle again, or make it again from its run"


class Opened(Protocol):
    labels: tuple[str, ...]

    def predict(self, rows: Sequence[Mapping[str, Field]]) -> np.ndarray: ...


def verify(folder: Path, open_predictor: Callable[[Path], Opened]) -> list[Problem]:
    """Return what is wrong with the bundle in ``folder``: missing, changed and extra files first; then, where there are none, its answers.

    ``open_predictor`` opens an artifact's folder. Raises :class:`BundleError` where there is no bundle, or one from a newer version.
    """
    manifest = _manifest(folder)
    problems = _files(folder, manifest["files"])
    return problems or _probes(folder, open_predictor(folder))


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found = storage.read_manifest(folder)
    except ValueError as error:
        raise BundleError(f"the manifest can't be read: {error}", place=str(folder / storage.MANIFEST), remedy=MEND) from error
    if found is None or "files" not in found:
        raise BundleError("there is no bundle here: it has no manifest", place=str(folder), remedy="a run's is in its bundle/ folder")
    if found.get("schema", 0) > SCHEMA:
        raise BundleError(f"written by a newer potstill (schema {found['schema']})", place=str(folder), remedy="install that version")
    return found


def _files(folder: Path, listed: Mapping[str, Any]) -> list[Problem]:
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {storage.MANIFEST}
    problems = [Problem(str(folder / name), "the file is missing", MEND) for name in sorted(set(listed) - there)]
    problems += [Problem(str(folder / name), "this file does not belong to the bundle", "take it out") for name in sorted(there - set(listed))]
    problems += [
        Problem(str(folder / name), "the file was changed: its hash is not the manifest's", MEND)
        for name in sorted(there & set(listed))
        if storage.sha256_file(folder / name) != listed[name]["sha256"]
    ]
    return problems


def _probes(folder: Path, predictor: Opened) -> list[Problem]:
    probes = storage.read_json(folder / PROBES)
    said = predictor.predict([probe["fields"] for probe in probes])
    problems = []
    for probe, now in zip(probes, said):
        then = np.asarray(probe["logprobs"], np.float32)
        diff = float(np.abs(np.exp(now) - np.exp(then)).max())
        label, margin = predictor.labels[int(now.argmax())], float(np.ptp(np.sort(np.exp(then))[-2:]))
        if diff > TOLERANCE:
            problems.append(
                Problem(
                    f"probe '{probe['name']}'",
                    f"a probability differs by {diff:.3g} from the stored one",
                    "this machine computes otherwise: measure quality here",
                )
            )
        elif label != probe["label"] and margin > TOLERANCE:
            problems.append(Problem(f"probe '{probe['name']}'", f"answers '{label}', stored is '{probe['label']}'", MEND))
    return problems

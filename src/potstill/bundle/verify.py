"""Is a bundle whole, and does it answer as it did when it was made?"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from .. import storage
from ..contracts import Predictor
from ..errors import Problem
from ..records import in_words
from .probes import SPOKEN_TOKENS, Probe, Said, Speaker
from .read import MEND, PROBES, manifest, read

RELATIVE = 1e-4  # float32 itself: a log-probability of -1,000 has a last digit of its own
MOVED = "this machine computes otherwise: measure its quality here before it answers anyone"


def verify(folder: Path, open_predictor: Callable[[Path], Predictor | Speaker]) -> list[Problem]:
    """Return what is wrong with the bundle in ``folder``: missing, changed and extra files first; then, where there are none, its answers.

    ``open_predictor`` opens an artifact's folder. Raises :class:`BundleError` where there is no bundle, or one from a newer version.
    """
    problems = _files(folder, manifest(folder)["files"])
    return problems or replay(folder, open_predictor(folder))


def replay(folder: Path, predictor: Predictor | Speaker) -> list[Problem]:
    """Ask the stored probes again; return those that are answered otherwise.

    A log-probability may be off by as much as another machine's kernels round otherwise; a decision, only where the
    stored one was as close as that. From there on a language model may say something else altogether.
    """
    stored = read(folder).probes
    if not stored.probes:
        return [Problem(str(folder / PROBES), "there are no probes: nothing shows that this bundle answers as it should", MEND)]
    if stored.spoken:
        answers = cast(Speaker, predictor).generate([probe.fields for probe in stored.probes], max_tokens=SPOKEN_TOKENS)
        return [problem for probe, one in zip(stored.probes, answers) if (problem := _spoken(probe, one, stored.tolerance)) is not None]
    predictor = cast(Predictor, predictor)
    said = predictor.predict([probe.fields for probe in stored.probes])
    told = predictor.decide(said)
    found = [_compare(probe, answer, label, predictor, stored.tolerance) for probe, answer, label in zip(stored.probes, said, told)]
    return [problem for problem in found if problem is not None]


def _spoken(probe: Probe, said: Said, tolerance: float) -> Problem | None:
    """Compare token by token, up to one that another machine may well take otherwise."""
    place = f"probe '{probe.name}'"
    for at, (stored, now) in enumerate(itertools.zip_longest(probe.ids, said.ids)):
        if stored is None or now is None:
            return Problem(place, f"says {len(said.ids)} tokens, stored are {len(probe.ids)}", MEND)
        if stored != now:
            known = f"token {at + 1} is another, and the stored one was likelier by {probe.margins[at]:.3g} nats; {tolerance:g} is allowed"
            return None if probe.margins[at] <= 2 * tolerance else Problem(place, known, MOVED)  # both may move, towards each other
        off = abs(said.logprobs[at] - float(probe.logprobs[at]))
        if not off <= tolerance + RELATIVE * abs(float(probe.logprobs[at])):
            return Problem(place, f"token {at + 1}: its log-probability is off by {off:.3g}; {tolerance:g} is allowed", MOVED)
    return None


def _compare(probe: Probe, answer: np.ndarray, label: str | list[str], predictor: Predictor, tolerance: float) -> Problem | None:
    place = f"probe '{probe.name}'"
    if answer.shape != probe.logprobs.shape or not np.isfinite(answer).all():
        return Problem(place, f"the answer is no {len(probe.logprobs)} numbers", MEND)
    diff = np.abs(answer - probe.logprobs)
    if (diff > tolerance + RELATIVE * np.abs(probe.logprobs)).any():
        return Problem(place, f"a log-probability is off by {diff.max():.3g}; {tolerance:g} is allowed", MOVED)
    if label != probe.label and _margin(probe, label, predictor) > tolerance:
        return Problem(place, f"answers {_named(label)}, stored is {_named(probe.label)}", MEND)
    return None


def _margin(probe: Probe, label: str | list[str], predictor: Predictor) -> float:
    """Return by how much the stored decision was taken; with any number of labels, the one of those that differ that was taken most surely."""
    if isinstance(label, str) or isinstance(probe.label, str):
        second, first = np.sort(probe.logprobs)[-2:]
        return float(first - second)
    other = np.array([(name in label) != (name in probe.label) for name in predictor.labels])
    return float(np.abs(probe.logprobs - predictor.thresholds)[other].max())


def _named(label: str | list[str]) -> str:
    return f"'{label if isinstance(label, str) else in_words(label)}'"


def _files(folder: Path, listed: Mapping[str, Any]) -> list[Problem]:
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink()} - {storage.MANIFEST}
    problems = [Problem(str(folder / name), "the file is missing", MEND) for name in sorted(set(listed) - there)]
    problems += [Problem(str(folder / name), "this file does not belong to the bundle", "take it out") for name in sorted(there - set(listed))]
    problems += [
        Problem(str(folder / name), "the file was changed: its hash is not the manifest's", MEND)
        for name in sorted(there & set(listed))
        if _sha256(folder / name) != listed[name]["sha256"]
    ]
    return problems


def _sha256(path: Path) -> str | None:
    """Return the hash of a file's bytes as they are now; None for a link that leads nowhere.

    ``storage.sha256_file`` remembers by size and time, and whoever changes a file can set both.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""A stage's output on disk, found again by its fingerprint: how a run resumes where it was killed.

The fingerprint holds the stage, its hand-raised version, the options that it reads and the fingerprints of its inputs;
never paths, times or the package's version.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import storage


@dataclass(frozen=True)
class Stage:
    """A finished stage: its name, its fingerprint, its folder."""

    name: str
    fingerprint: str
    folder: Path

    def read(self, file: str = "result.json") -> Any:
        return storage.read_json(self.folder / file)


@dataclass(frozen=True)
class Cache:
    """Finished stages under ``root``, one folder each: ``root/NAME-FINGERPRINT``."""

    root: Path

    def get(self, name: str, inputs: Mapping[str, Any], make: Callable[[Path, Path], None], *, version: int = 1) -> Stage:
        """Return the finished stage; where there is none, call ``make(folder, scratch)`` to fill ``folder``.

        ``scratch`` is a folder that survives a kill, for checkpoints; it goes away when the stage is complete.
        """
        fingerprint = storage.digest(name, version, inputs)
        folder = self.root / f"{name}-{fingerprint[:16]}"
        if storage.read_manifest(folder) is None:
            with storage.locked(self.root / "locks" / folder.name, what="run", wait=True):
                if storage.read_manifest(folder) is None:  # another process may have made it while we waited
                    self._make(name, fingerprint, folder, make)
        scratch = _scratch(folder)
        if scratch.exists():  # a kill came between the stage's last rename and this
            shutil.rmtree(scratch, ignore_errors=True)
        return Stage(name, fingerprint, folder)

    def _make(self, name: str, fingerprint: str, folder: Path, make: Callable[[Path, Path], None]) -> None:
        scratch = _scratch(folder)
        with storage.disk_errors(scratch):
            scratch.mkdir(parents=True, exist_ok=True)
        point = f"stage.{name.partition('.')[0]}"
        with storage.new_folder(folder, {"stage": name, "fingerprint": fingerprint}, point=point) as partial:
            make(partial, scratch)


def _scratch(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.scratch")

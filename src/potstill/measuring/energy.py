"""Energy, where the kernel lets a meter be read (Intel RAPL and what speaks like it); else nothing, and why."""

from __future__ import annotations

from pathlib import Path

METERS = Path("/sys/class/powercap")
REASON = "no energy meter can be read on this machine"


def joules() -> float | None:
    """Return the meters' sum in joules, None where none can be read. Meters wrap: a smaller second reading says nothing."""
    total, seen = 0.0, False
    for meter in sorted(METERS.glob("*:[0-9]*/energy_uj")) if METERS.is_dir() else []:
        if meter.parent.name.count(":") > 1:
            continue  # part of a package that is counted already
        try:
            total += int(meter.read_text()) / 1e6
        except OSError:  # most kernels let only root read it
            return None
        seen = True
    return total if seen else None

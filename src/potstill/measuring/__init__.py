"""HOW FAST, HOW BIG: the teacher as it runs today and the artifact that would ship, side by side.

Reads: subjects ("module:function" that opens one), rows of real lengths. Gives latency, throughput, memory, start-up, energy: each
subject in a process of its own, turn by turn, warmed up, the threads stated. Writes nothing.
"""

from __future__ import annotations

from .subject import Measured, Subject

__all__ = ["Measured", "Subject"]

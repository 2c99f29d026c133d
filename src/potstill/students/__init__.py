"""WHO LEARNS: students by kind, started from a teacher's layers, embeddings or nothing, and saved in their ecosystem's format.

Reads a recipe's student, a head and a source model's folder; writes a folder that loads without potstill.
"""

from .protocol import FitStudent, LoopStudent, Output

__all__ = ["FitStudent", "LoopStudent", "Output"]

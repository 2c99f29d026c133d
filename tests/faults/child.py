"""``potstill run`` in a process of its own, watched: every row that the teacher is asked, and every write point passed, is noted in a file.

python -m tests.faults.child FOLDER RECIPE OUTPUT      # appends to FOLDER/asked and FOLDER/points
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from potstill import storage
from potstill.teachers.model import ModelTeacher


def main() -> None:
    folder, recipe, output = sys.argv[1:]
    asked, points = ((Path(folder) / name).open("a", buffering=1) for name in ("asked", "points"))
    answer, mark = ModelTeacher.answer, storage.write_point

    def heard(self: ModelTeacher, examples: Sequence[Any], wants: Sequence[Any]) -> Iterator[Any]:
        asked.write("".join(f"{example.id}\n" for example in examples))
        return answer(self, examples, wants)

    def passed(name: str) -> None:
        points.write(f"{name}\n")
        mark(name)

    ModelTeacher.answer, storage.write_point = heard, passed
    sys.argv = ["potstill", "run", recipe, "--output", output, "--quiet"]
    runpy.run_module("potstill", run_name="__main__")


if __name__ == "__main__":
    main()

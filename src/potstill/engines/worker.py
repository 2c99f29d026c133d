"""The child's side of :mod:`local`: a spec on standard input; a result, or the error that a person can mend, on standard output."""

from __future__ import annotations

import json
import os
import sys
from typing import TextIO

from ..errors import PotstillError
from ..lookup import load


def private_stdout() -> TextIO:
    """Return standard output for answers alone: whatever a library prints from now on goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def main() -> None:
    answers = private_stdout()
    try:
        said = {"result": load(sys.argv[1])(json.load(sys.stdin))}
    except PotstillError as error:
        said = {"error": {"kind": type(error).__name__, "message": error.message, "place": error.place, "remedy": error.remedy}}
    answers.write(json.dumps(said) + "\n")
    answers.close()


if __name__ == "__main__":
    main()

"""The child's side of :mod:`local`: a spec on standard input, a result as the last line of standard output."""

from __future__ import annotations

import json
import sys

from ..lookup import load


def main() -> None:
    result = load(sys.argv[1])(json.load(sys.stdin))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()

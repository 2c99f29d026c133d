"""potstill's own command line in a process of its own, its timing kept short: python -m tests.flow.isolated run RECIPE ..."""

from __future__ import annotations

import functools
import sys

from potstill.cli.main import main
from potstill.measuring import measure

if __name__ == "__main__":
    measure.measure = functools.partial(measure.measure, budget_s=3)
    sys.exit(main(sys.argv[1:]))

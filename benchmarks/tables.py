"""Write ``docs/benchmarks.md`` from what the scripts left in ``benchmarks/results``; ``--check`` only says whether it is current."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sections import llm, server, simulated, speed, students, tokens, training, traps, writing

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
HEAD = """# What was measured

Written by `benchmarks/tables.py` from `benchmarks/results`; a test holds the two together. Intervals in brackets are two-sided 95 %.
"""
Drawn = Callable[[Any], Iterator[str]]

# What is drawn of which results, in this order; NAME-* is all whose names begin so, by what comes after.
SECTIONS: Mapping[str, Drawn] = {
    "classify-sst2": partial(students.classified, "SST-2: sentiment of sentences", "classify.py sst2 --from DIR"),
    "classify-trec": partial(students.classified, "TREC: what a question asks for", "classify.py trec --from DIR"),
    "multilabel-debtags": partial(students.classified, "Debian's programs by what they are for: any number of labels", "multilabel.py"),
    "llm-labels-*": llm.labels,
    "llm-bill": llm.bill,
    "injection": llm.injection,
    "token_loss": tokens.loss,
    "token_store": tokens.store,
    "generation-*": writing.generation,
    "bundle": speed.bundle,
    "ngram": speed.ngram,
    "serving": server.served,
    "cascade-live": server.cascaded,
    "labelling": speed.labelling,
    "simulate_verdict": simulated.verdict,
    "simulate_cascade": simulated.cascade,
    "training-*": training.training,
    "augment-speed": speed.masked,
    "tinybert-*": students.tinybert,
    "ablations-*": students.ablations,
    "traps": traps.traps,
}


def results(pattern: str) -> Any:
    """Return what a script found, or several did, by what their names end in; None where none has run."""
    found = {path.stem.removeprefix(pattern.rstrip("*")): json.loads(path.read_text("utf-8")) for path in sorted((HERE / "results").glob(f"{pattern}.json"))}
    return found if pattern.endswith("*") else next(iter(found.values()), None)


def page() -> str:
    """Return the page."""
    lines = [HEAD]
    for pattern, drawn in SECTIONS.items():
        if found := results(pattern):
            lines += [*drawn(found), ""]
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: list[str]) -> int:
    made = page()
    if "--check" in arguments:
        return int(not PAGE.is_file() or PAGE.read_text("utf-8") != made)
    PAGE.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

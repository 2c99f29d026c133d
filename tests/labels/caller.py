"""A process that asks an endpoint row by row and says, as JSON, what it cost: to be killed by the crash tests."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from potstill.labels import Account, LabelStore, ask
from tests.labels.fakes import LOGPROBS
from tests.teachers.endpoint.made import rows, teacher


def main(spec: dict) -> None:
    given = rows(spec["rows"])
    with LabelStore(Path(spec["root"])) as store:
        made = teacher(spec["url"], usd_per_million_in=1.0, **spec["options"])
        answers = ask(made, given, [LOGPROBS], Account(store, run="run"))
        content = answers.array([row.id for row in given], LOGPROBS).tobytes()
        usage = {"calls": answers.usage.teacher_calls, "cached": answers.usage.cached_calls, "possibly_paid": answers.usage.possibly_paid}
        print(json.dumps({**usage, "counts": dict(answers.counts), "content": hashlib.sha256(content).hexdigest(), "spent": asdict(store.spent("run"))}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

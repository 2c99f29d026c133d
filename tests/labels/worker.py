"""A process that asks the counting teacher and says, as JSON, what it cost: to be killed by the crash tests."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from potstill.labels import Account, LabelStore, ask
from potstill.runlog import RunLog
from tests.labels.fakes import HIDDEN, LOGPROBS, Fake, examples


def main(spec: dict) -> None:
    rows = examples(spec["rows"])
    teacher = Fake(counter=Path(spec["counter"]), seconds=spec["seconds"])
    log = RunLog(listeners=[lambda event: print(json.dumps(event), file=sys.stderr) if event["event"] == "warning" else None])
    with LabelStore(Path(spec["root"]), log=log) as store:
        answers = ask(teacher, rows, [LOGPROBS, HIDDEN], Account(store, log, spec["run"]), batch_size=spec["batch"])
        ids = [row.id for row in rows]
        content = answers.array(ids, LOGPROBS).tobytes() + b"".join(a.tobytes() for a in answers.arrays(ids, HIDDEN))
        usage = {"calls": answers.usage.teacher_calls, "cached": answers.usage.cached_calls, "possibly_paid": answers.usage.possibly_paid}
        print(
            json.dumps(
                {
                    **usage,
                    "counts": dict(answers.counts),
                    "content": hashlib.sha256(content).hexdigest(),
                    "spent": asdict(store.spent(spec["run"])),
                }
            )
        )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

"""A process that asks a language model about tokens and says, as JSON, what it cost and what the store holds: to be killed by the crash tests."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

from potstill.labels import Account, LabelStore, ask
from potstill.labels.tokens import Codebook, Keep
from potstill.labels.tokens.coders import SparseCoder
from potstill.records import Example, Want
from potstill.teachers.causal import CausalTeacher
from tests.small import texts

KEEP = Keep(0.99, 1e-3, 64)


def rows(count: int) -> list[Example]:
    return [Example.make({"text": row["text"]}, place=f"rows.jsonl:{n + 1}") for n, row in enumerate(texts(count, 5))]


def main(spec: dict) -> None:
    teacher, some = CausalTeacher(Path(spec["model"]), max_length=64, batch_size=4), rows(spec["rows"])
    coder = SparseCoder(KEEP, Codebook.read(Path(spec["book"]).read_bytes()))
    teacher.teach(coder)
    answer = teacher.answer

    def counted(examples, wants):
        for id, found in answer(examples, wants):
            with Path(spec["counter"]).open("a") as file:
                file.write(f"{id}\n")
                file.flush()
                os.fsync(file.fileno())
            yield id, found

    teacher.answer = counted
    want, ids = Want("tokens", coded=coder.name), [row.id for row in some]
    with LabelStore(Path(spec["root"])) as store:
        answers = ask(teacher, some, [want], Account(store, run="run"), batch_size=4)
        content = b"".join(array.tobytes() for array in answers.arrays(ids, want))
        spent = store.spent("run")
    told = {"calls": answers.usage.teacher_calls, "cached": answers.usage.cached_calls, "possibly_paid": spent.possibly_paid, "all": spent.calls}
    print(json.dumps({**told, "content": hashlib.sha256(content).hexdigest()}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

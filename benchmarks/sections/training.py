"""What a training step costs, beside an online teacher and other trainers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import say

STUDENTS = {
    "half": "3 layers, 384 wide", "one": "1 layer, 384 wide", "narrow": "2 layers, 192 wide", "thin": "1 layer, 192 wide",
}  # fmt: skip


def training(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## What a training step costs"
    yield ""
    yield "SST-2 sentences; MiniLM (6 layers, 384 wide), with a head that nobody trained, the teacher; students cut from it; batches of 32, fp32, one thread;"
    yield "CPU time of arms that take turns in one process. An online trainer runs the teacher in every step; ours reads what it said from the store. The first"
    yield "epoch, in which the store must be filled, is not counted. Backward takes about twice a forward pass, so that a student whose forward pass is n times"
    yield "cheaper than the teacher's can gain 1 + n / 3 at most: 2.7 times at n = 5, 4 times from n = 9 on. Times the other side:"
    for name, (title, rows) in TRAINING.items():
        if name in found:
            yield from ("", *title(found[name]), "", *rows(found[name]))
    yield ""
    yield "What wasn't reached: *TextBrewer with its cache of logits* asks the teacher as seldom as we do, and keeps each batch's company for all epochs for"
    yield "it; what is left is padding. `sentence-transformers` pads to the longest of a random batch, tokenizes in every step, and has no sampler by length."


def _claim(found: Mapping[str, Any], script: str, words: str) -> Iterator[str]:
    tokens = found["tokens"]
    rows = f"{found['rows']:,} rows of {tokens['mean']:g} tokens, {tokens['longest']} at most; {found['machine']['cpu']}"
    yield f"`python benchmarks/{script} --from DIR --rows {found['rows']}`: {rows}."
    yield words


def _table(kind: str, lines: Iterator[tuple[str, str, Mapping[str, Any], str]]) -> Iterator[str]:
    yield f"| student | {kind} | times | pairs | ms a step | target |"
    yield "|---|---|---|---|---|---|"
    for student, what, line, target in lines:
        ms, times = line["ms"].values(), line["times"]
        cells = (f"{student}: {STUDENTS[student]}", what, say.times(times), str(times["pairs"]), " / ".join(f"{value:.1f}" for value in ms), target)
        yield f"| {' | '.join(cells)} |"


def _from_store(found: Mapping[str, Any]) -> Iterator[str]:
    apart = max(line["loss_apart"] for line in found["lines"])
    return _claim(
        found, "training.py store", "Vocabulary trimmed. The store gives back to the bit what the teacher said; through the same codec a batch's loss from the "
        f"store and from the teacher asked anew differ by {apart:.0e} at most (1e-6 allowed).",
    )  # fmt: skip


def _stored(found: Mapping[str, Any]) -> Iterator[str]:
    def what(line: Mapping[str, Any]) -> str:
        over = line["teacher_over_student"]
        return f"{line['objectives']}; the teacher's forward pass {over['forward']:.1f} times the student's, its parameters {over['parameters']:.1f} times"

    def lines() -> Iterator[tuple[str, str, Mapping[str, Any], str]]:
        for line in found["lines"]:
            target = found["targets"][line["objectives"]]
            yield line["student"], what(line), line, say.target(target, line["times"]["value"] >= target)

    return _table("from the store over online", lines())


def _over(kind: str, *, at_most: bool = False) -> Any:
    def rows(found: Mapping[str, Any]) -> Iterator[str]:
        def lines() -> Iterator[tuple[str, str, Mapping[str, Any], str]]:
            for line in found["lines"]:
                times, target = line["times"], found["target"]
                reached = times["high"] <= target if at_most else times["value"] >= target
                yield line["student"], line.get("work", "logits"), line, say.target(target, reached, "upper end <=" if at_most else ">=")

        return _table(kind, lines())

    return rows


def _peer(name: str, words: str) -> Any:
    return lambda found: _claim(found, f"training_peers.py {name}", f"{name} {found['version']}; {words}")


TRAINING: Mapping[str, tuple[Any, Any]] = {
    "store": (_from_store, _stored),
    "textbrewer": (_peer("textbrewer", "dynamic padding, the fused AdamW, clipping and schedule as ours. Pairs are epochs."), _over("over TextBrewer")),
    "torchdistill": (_peer("torchdistill", "`KDLoss` in a `DistillationBox`, dynamic padding, the fused AdamW. Pairs are epochs."), _over("over torchdistill")),
    "padding": (lambda found: _claim(found, "training.py padding", "Logits from the store on both sides. Pairs are epochs."), _over("over padding to 128")),
    "sentence-transformers": (
        _peer("sentence-transformers", "`MSELoss` on embeddings, computed before, against our logits from the store: the same body. Pairs are epochs."),
        _over("over its trainer"),
    ),
    "loop": (
        lambda found: _claim(found, "training.py loop", "The same batches, forward pass, loss, clipping, fused AdamW and schedule by hand. Pairs are steps."),
        _over("ours over bare PyTorch", at_most=True),
    ),
}  # fmt: skip

"""Small language models out of a larger one: what the page says of ``generation.py``'s results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .say import percent, target, times

KEPT = {"sparse": "the top and its tail", "hidden": "last states", "sampled": "twelve draws", "online": "nothing: asked in every step"}
SHAPES = {"half-depth": "15 of 30 layers, by importance", "half-width": "all layers, 288 of 576 channels, 768 of 1,536 neurons"}
COLUMNS = (
    "student", "parameters", "bits a byte", "perplexity", "KL, nats", "agreement", "retention", "gain over its control, bits a byte", "ships as", "MB",
    "tokens/s at 8, over the teacher",
)  # fmt: skip


def generation(sets: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the section: by set the students through the pipeline, then one student from each way of keeping."""
    yield "## Small language models out of a larger one"
    yield ""
    yield "`python benchmarks/generation.py run stores epochs --from DIR`: SmolLM2-135M-Instruct, cut in half, on so few texts that a student of half its size"
    yield "is far from it: what the table shows is what the teacher's answers are worth over the same texts alone, for as many steps. One seed; test rows"
    yield "resampled by prompt."
    for name, found in sets.items():
        yield from _set(name, found)


def _set(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    teacher, data = found["teacher"], found["data"]
    floors = {base["name"]: base["quality"]["bits_per_byte"] for base in found["baselines"]}
    told = ", ".join(f"{floor} {value:.2f}" for floor, value in floors.items())
    yield ""
    how = found["trained"]
    yield f"**{name}**: {data['train']:,} rows to learn from, {how['epochs']} epochs in batches of {how['batch_size']}, {data['test']:,} test rows."
    yield f"Teacher: {teacher['quality']['bits_per_byte']:.3f} bits a byte, perplexity {teacher['quality']['perplexity']:.1f}; {told} bits a byte."
    yield ""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|---" * len(COLUMNS) + "|"
    for one in found["students"]:
        yield _student(one)
    answer = found["answer"]
    yield ""
    yield f"What ships answers without torch: `{answer['prompt']}` {answer['text']!r}. Verdict: **{found['verdict']['decision']}**."
    if "stores" in found:
        yield from _stores(found["stores"])
    if "epochs" in found:
        yield from _epochs(found["epochs"])


def _student(one: Mapping[str, Any]) -> str:
    quality, control, speed = one["quality"], one["control"], (one["speedup"] or {}).get("throughput")
    gain = control and control["gain"]
    cells = (
        f"{one['name']}: {SHAPES[one['name']]}", f"{one['parameters'] / 1e6:.1f}M", f"{quality['bits_per_byte']:.3f}", f"{quality['perplexity']:.1f}",
        f"{one['fidelity']['kl']:.3f}",
        percent({"value": one["fidelity"]["agreement"], **{side: one["fidelity"][side] for side in ("low", "high")}}), percent(one["retention"]),
        f"{gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]" if gain else "-", one["precision"], f"{one['size_bytes'] / 1e6:.0f}",
        f"{speed['value']:.1f} [{speed['low']:.1f}, {speed['high']:.1f}]" if speed else "-",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _stores(ways: list[dict[str, Any]]) -> Iterator[str]:
    online = next(way for way in ways if way["way"] == "online")
    yield ""
    yield "The half-width student from each way of keeping, equal steps from the same start, measured in fp32 against the teacher's whole distributions. CPU:"
    yield "of its training, beside that of asking in every step. Memory: what training adds to what is resident before, for *online* with the teacher at work."
    yield ""
    yield "| kept | bytes a token | KL, nats | over asking online | agreement | bits a byte | CPU of online over its | MiB |"
    yield "|---|---|---|---|---|---|---|---|"
    for way in ways:
        over, kept = way["kl_over_online"], "-" if way["bytes"] is None else f"{way['bytes'] / way['tokens']:.1f}"
        gap = "-" if way is online else f"{over['value']:+.3f} [{over['low']:+.3f}, {over['high']:+.3f}]"
        memory = (way["resident_peak"] - way["resident_before"]) / 2**20
        cells = (
            KEPT[way["way"]], kept, f"{way['kl']:.3f}", gap, f"{way['agreement']:.1%}", f"{way['bits_per_byte']:.3f}", f"{online['cpu_s'] / way['cpu_s']:.2f}",
            f"{memory:,.0f}",
        )  # fmt: skip
        yield "| " + " | ".join(cells) + " |"


def _epochs(lines: list[dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield "Steps of 8 rows from the store (the top and its tail) beside steps in which the teacher is asked, in turns in one process, CPU time of one thread. A"
    yield "step costs about three forward passes of the student, so a teacher n times as dear can't make asking more than 1 + n / 3 times as dear as reading."
    yield ""
    yield "| student | parameters | teacher's over it | times | pairs | target |"
    yield "|---|---|---|---|---|---|"
    for line in lines:
        found = line["times"]
        cells = (line["student"], f"{line['parameters'] / 1e6:.1f}M", f"{line['teacher_over_student']:.1f}", times(found), str(found["pairs"]))
        yield "| " + " | ".join((*cells, target(3.0, found["value"] >= 3.0))) + " |"

"""What students reached: on real sets, along the TinyBERT line, by one choice changed at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import say


def classified(title: str, command: str, found: Mapping[str, Any]) -> Iterator[str]:
    data, teacher, machine, required = (found[part] for part in ("data", "teacher", "machine", "requirement"))
    metric = found["metric"]
    yield f"## {title}"
    yield ""
    yield f"`python benchmarks/{command}`: {data['train']:,} gold rows, {data['unlabeled']:,} in the pool, {data['test']:,} test rows;"
    yield f"seeds {', '.join(map(str, found['seeds']))}; {machine['cpu']}, {machine['threads']} thread{'s' * (machine['threads'] > 1)}."
    floor = next((b for b in found["baselines"] if b["name"] != "majority"), None)
    yield (
        f"Teacher: {metric} {teacher['quality'][metric]:.3f}, {teacher['size_bytes'] / 1e6:.0f} MB, {teacher['throughput_per_s']:,.0f} texts/s."
        + (f" {floor['name']}: {floor['quality'][metric]:.3f}." if floor else "")
    )
    yield ""
    yield f"| student | {metric} | retention | gain over its control | gain over the floor | speed-up | MB | p95, ms | meets |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for student in found["students"]:
        quality = "-" if student["quality"] is None else f"{student['quality'][metric]:.3f}"
        control = student["control"]["gain"] if student["control"] else None
        speed = student["speedup"]["throughput"] if student["speedup"] else None
        cells = (
            f"{student['name']} ({student['precision']})", quality, say.percent(student["retention"]), say.points(control), say.points(student["gain_floor"]),
            "-" if speed is None else f"{speed['value']:.1f} [{speed['low']:.1f}, {speed['high']:.1f}]", f"{student['size_bytes'] / 1e6:.1f}",
            f"{student['latency_ms']['p95']:.2f}", {True: "yes", False: "no", None: "not tested"}[student["meets"]],
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    yield ""
    allowed, verdict = required["quality"], found["verdict"]
    yield f"Verdict for a drop of at most {100 * allowed['max_drop']:g} points at {allowed['confidence']:.0%} confidence: **{verdict['decision']}**."
    yield from (f"- {reason}" for reason in verdict["reasons"])


def tinybert(sets: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "## The TinyBERT line: a language model of 135M parameters into an eighth of them"
    yield ""
    yield "`python benchmarks/tinybert_line.py " + " ".join(sets) + " --from DIR --arms layers,ngram`: SmolLM2-135M, fine-tuned on at most 2,000 gold rows; the"
    yield "other training rows are a pool, their labels thrown away. *layers*: its first three layers and the tokens that the rows use. Accuracy is the mean"
    yield "over the seeds; differences in points, rows and seeds resampled together; the gain over control of the seed that validation chose. Asked for:"
    yield "13.3 % of the parameters, retention 96.8 % on each set and 98 % in the mean, 9.4 times the speed in fp32 and 20 times as shipped."
    yield ""
    yield "| set | gold, pool, test | teacher | student | accuracy | drop | retention | gain over control | teacher over it | parameters | fp32 | shipped |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for name, found in sets.items():
        data, whole = found["data"], found["teacher"]["quality"]["accuracy"]
        rows = f"{data['train']:,}, {data['unlabeled']:,}, {data['test']:,}"
        for student in found["students"]:
            mean, speed = student["over_seeds"], [student[part]["throughput"]["value"] for part in ("speedup_fp32", "speedup")]
            cells = (
                name, rows, f"{whole:.3f}", f"{student['name']} ({student['precision']})", f"{mean['quality']['value']:.3f}", say.points(mean["quality_drop"]),
                f"{mean['quality']['value'] / whole:.1%}", say.points(student["control"]["gain"]), say.points(student["teacher_over_control"]),
                f"{student['share_of_parameters']:.1%}", *(f"{times:,.1f}x" for times in speed),
            )  # fmt: skip
            yield f"| {' | '.join(cells)} |"


def ablations(sets: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "## What each choice is worth"
    yield ""
    yield "`python benchmarks/ablations.py trec icd --from DIR`: a MiniLM, fine-tuned, into three of its layers; differences in points of accuracy"
    yield "from the line *default*, rows and seeds resampled together; students as trained, in fp32. The same test rows were looked at for every line."
    yield ""
    for found in sets.values():
        seeds = ", ".join(map(str, found["seeds"]))
        yield f"**{found['title']}**: {found['gold']:,} gold rows, {found['pool']:,} in the pool, {found['test']:,} test rows, seeds {seeds};"
        yield f"teacher {found['teacher']:.3f}."
        yield ""
        yield "| choice | accuracy | difference |"
        yield "|---|---|---|"
        for arm, line in found["arms"].items():
            by_seed = ", ".join(f"{value:.3f}" for value in line["accuracy"])
            yield f"| {line['what']} | {by_seed} | {'-' if arm == 'default' else say.points(line['difference'])} |"
        yield ""

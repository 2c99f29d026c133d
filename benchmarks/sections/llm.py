"""A language model behind a server as the teacher: what its labels are worth, what they cost, what its rows can make it say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import say

SETS = {"sst2": "SST-2", "trec": "TREC"}


def labels(sets: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "## Until how many gold rows are a language model's labels worth having?"
    yield ""
    yield "`python benchmarks/llm_labels.py sst2 trec --from DIR --url URL`: SmolLM2-135M-Instruct behind llama.cpp's server, eight shots, label words by the"
    yield "log-probability of their first token, calibrated on texts without content; its answers about 2,000 rows of a pool and at most 2,000 gold rows are"
    yield "learnt beside the gold. The control is the same student on the gold rows alone, for as many steps. Accuracies are means over seeds; the gain is"
    yield "over rows and seeds resampled together."
    for name, found in sets.items():
        told = found["asked"]
        first = next(iter(found["gold"].values()))
        asked = told["calls"] > told["rows"] / 2  # else a second call of the script, which found the answers of the first
        seconds = f"{told['tokens_in']:,} tokens in, {told['rows'] / told['seconds']:.1f} rows a second" if asked else "kept from an earlier call"
        yield ""
        yield f"**{SETS[name]}**: {told['answered']:,} of {told['rows']:,} rows answered, {seconds}; the teacher's accuracy"
        yield f"on {first['test']:,} test rows is {first['teacher']:.3f}."
        yield ""
        yield "| gold rows | student | accuracy | control | gain of the labels, points |"
        yield "|---|---|---|---|---|"
        for gold, line in found["gold"].items():
            for student, one in line["students"].items():
                over = one["over_seeds"] or {}
                quality, gain = over.get("quality", {}).get("value", one["accuracy"]), _gain(one)
                control = quality - gain["value"]
                yield f"| {int(gold):,} | {student} | {quality:.3f} | {control:.3f} | {say.points(gain)} |"
        yield ""
        yield f"Worth having (the gain's lower bound above 0): {'; '.join(_until(found['gold']))}."


def _until(gold: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield for each student the numbers of gold rows beside which the labels are worth having."""
    for student in next(iter(gold.values()))["students"]:
        worth = [f"{int(n):,}" for n, line in gold.items() if _gain(line["students"][student])["low"] > 0]
        yield f"*{student}* beside {', '.join(worth)} gold rows" if worth else f"*{student}* never"


def _gain(found: Mapping[str, Any]) -> Any:
    """Return the gain over seeds, of one seed where there is one alone."""
    return (found["over_seeds"] or {}).get("gain") or found["gain"]


def bill(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "## An estimate beside the bill"
    yield ""
    yield "`python benchmarks/llm_bill.py trec sst2 cr --from DIR --url URL`: whole runs over a real server, priced as a provider's list has it. The estimate"
    yield "is made after a probe of twenty calls, for all that comes after it; its interval is a prediction's, 95 %."
    yield ""
    yield "| set | rows to be asked | estimate, USD | billed after the probe, USD | billed over estimate | inside |"
    yield "|---|---|---|---|---|---|"
    for name, line in found.items():
        usd = line["estimate"]
        cells = (
            name, f"{line['rows']:,}", f"{usd['value']:.5f} [{usd['low']:.5f}, {usd['high']:.5f}]", f"{line['after_probe_usd']:.5f}", f"{line['ratio']:.3f}",
            "yes" if line["inside"] else "**no**",
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def injection(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## What instructions that are planted in rows turn"
    yield ""
    setting = f"{found['model']}, {found['prompt']['shots']} shots, {found['rows']} rows of {found['set']}"
    yield f"`python benchmarks/injection.py --from DIR --url URL`: {setting}, eight instructions"
    yield f"that ask for the label which the row did not get, {found['flagged_share']:.0%} of them known to the patterns. The share of labels that they"
    yield "turn, beside plain text of the same length on the same rows, and beside the same instruction that asks for the row's own label; points."
    yield ""
    yield "| scored by | guard | instruction | plain text | more than plain text | more for the other label |"
    yield "|---|---|---|---|---|---|"
    for way, guards in found["ways"].items():
        for guard, line in guards.items():
            flips, more = line["flips"], (say.points(line[f"planted_less_{side}"]) for side in ("plain", "other_label"))
            cells = (way, guard, f"{flips['planted']:.1%}", f"{flips['plain']:.1%}", *more)
            yield f"| {' | '.join(cells)} |"

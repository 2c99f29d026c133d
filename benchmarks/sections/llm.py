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
        seconds = f"{told['rows'] / told['seconds']:.1f} rows a second" if told["calls"] > told["rows"] / 2 else "from the store"
        yield ""
        yield f"**{SETS[name]}**: {told['answered']:,} of {told['rows']:,} rows answered, {told['tokens_in']:,} tokens in, {seconds}; the teacher's accuracy"
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
    yield "`python benchmarks/llm_bill.py trec mr subj --from DIR --url URL`: whole runs over a real server, priced as a provider's list has it. The estimate"
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


def token_loss(found: Mapping[str, Any]) -> Iterator[str]:
    setting, versions = found["setting"], ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    shape = f"{setting['positions']:,} positions x {setting['vocabulary']:,} tokens x {setting['width']} wide"
    yield "## The loss of a language model's tokens"
    yield ""
    yield f"`python benchmarks/token_loss.py --distillkit DIR`: {shape}, fp32, forward and backward, CPU time of one"
    yield f"thread, all arms in turns; {found['machine']['cpu']}; {versions}."
    yield "Memory is what one step adds to the most that is resident, in a process of its own,"
    yield f"{found['gradient_mib']:,.0f} MiB of it the head's gradient, on all sides. *liger*: chunks of 256, not compiled; *as it comes*: chunks of 1,024,"
    yield "compiled. *distillkit*: top-64 and a tail, in chunks of 1,024 as its README has it. Ours over theirs; a target is met when the interval's"
    yield "upper end is under it. Distance: the largest difference from float64, of value and gradients, over their largest entry."
    yield ""
    yield "| loss | peer | CPU s, ours | theirs | ratio | target | met | MiB, ours | theirs | ratio | target | met |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for name, line in found["lines"].items():
        for peer, ratio in line["ours_over"].items():
            seconds = [sorted(line["cpu_s"][arm])[len(line["cpu_s"][arm]) // 2] for arm in ("ours", peer)]
            sizes = [line["memory_bytes"][arm] / 2**20 for arm in ("ours", peer)]
            times = f"{seconds[0]:.1f} | {seconds[1]:.1f} | {ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
            memory = f"{sizes[0]:,.0f} | {sizes[1]:,.0f} | 1/{sizes[1] / sizes[0]:.1f}"
            yield f"| {name} | {peer} | {times} | {_target(line, 'time', peer)} | {memory} | {_target(line, 'memory', peer)} |"
    yield ""
    yield "| loss | ours, distance | " + " | ".join(peers := ["trl full", "liger", "distillkit"]) + " |"
    yield "|---" * (2 + len(peers)) + "|"
    for name, line in found["lines"].items():
        shown = [f"{max(line['distance'][arm].values()):.1e}" if arm in line["distance"] else "-" for arm in ("ours", *peers)]
        yield f"| {name} | {' | '.join(shown)} |"


def _target(line: Mapping[str, Any], what: str, peer: str) -> str:
    """Return a target and whether it was met, as two cells."""
    found = line["targets"].get(f"{what} over {peer}")
    if found is None:
        return "- | -"
    shown = f"<= 1/{1 / found['target']:.0f}" if what == "memory" else f"<= {found['target']:g}"
    return f"{shown} | {'yes' if found['met'] else '**no**'}"

"""What a language model's distributions cost to keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import say

BUCKETS = {"low": "<= 2 nats", "high": "> 2 nats"}


def store(found: Mapping[str, Any]) -> Iterator[str]:
    facts, vocabulary, codebook = found["facts"], found["vocabulary"], found["default"]["codebook_bytes"] / 1000
    yield "## The token store"
    yield ""
    low, high = facts["low"], facts["high"]
    yield f"`python benchmarks/token_store.py --distillkit DIR`: SmolLM2-135M-Instruct ({vocabulary:,} tokens) on WikiText-2 and on instructions with their"
    yield f"answers; {low['positions']:,} positions whose entropy is at most 2 nats ({low['entropy']:.2f} in the mean) and {high['positions']:,} above"
    yield f"({high['entropy']:.2f}). Codebooks (about {codebook:.0f} kB, once a store, not counted) were fitted on {found['probe']:,} other positions."
    yield "KL is the teacher's from what is read back, over the whole vocabulary, with the tail"
    yield "spread evenly and the mass scaled to 1, for both alike; DistillKit is a checkout (a61c2e7), for it is in no package registry."
    yield ""
    yield "| store | entropy | bytes a token | KL, nats | tokens kept | rows with mass over 1 | our bytes at its KL | our KL at its bytes |"
    yield "|---|---|---|---|---|---|---|---|"
    swept = [line for line in found["sweep"] if line["floor"] in (1e-2, 1e-3, 2e-4, 5e-5)]
    for name, line in [("potstill, default", found["default"]), *((f"potstill, floor {line['floor']:g}", line) for line in swept)]:
        yield from (f"| {name} | {BUCKETS[at]} | {_cells(one)} | - | - |" for at, one in line["buckets"].items())
    for line in found.get("distillkit", ()):
        for at, one in line["buckets"].items():
            beside = (_ratio(one["our_bytes"], one["bytes"], ".1f"), _ratio(one["our_kl"], one["kl"], ".4f"))
            yield f"| DistillKit, {line['setting']} | {BUCKETS[at]} | {_cells(one)} | {' | '.join(beside)} |"
    yield f"| potstill, sampled (12 draws) | all | {found['sampled_bytes']:.1f} | unbiased | - | 0 | - | - |"
    yield ""
    for choice in found["choice"]:
        yield f"- {choice}."
    if "speed" in found:
        yield ""
        yield from _claims(found)


def _cells(one: Mapping[str, float]) -> str:
    return f"{one['bytes']:.1f} | {one['kl']:.4f} ± {one['kl_within']:.4f} | {one['kept']:.1f} | {one['over_1']:,}"


def _ratio(ours: float | None, theirs: float, form: str) -> str:
    return "not swept" if ours is None else f"{ours:{form}} ({ours / theirs:.2f}x)"


def _claims(found: Mapping[str, Any]) -> Iterator[str]:
    lines = {line["setting"]: line["buckets"] for line in found["distillkit"]}
    best, budget, rates = lines["recommended, normalize_t"], lines["budget, normalize_t"], found["speed"]["tokens_per_cpu_s"]
    over = sum(one["over_1"] for line in found["sweep"] for one in line["buckets"].values())
    speed = found["speed"]
    yield f"Speed: {speed['positions']:,} positions at once, floor {speed['floor']:g} against *recommended, normalize_t*, which err alike over all positions"
    yield "together; encoding begins with log-probabilities over the whole vocabulary for both. Median of the rounds' ratios, and their range."
    yield ""
    yield "| claim | target | found |"
    yield "|---|---|---|"
    for at, most in (("low", 0.5), ("high", 1.0)):
        ratio = best[at]["our_bytes"] / best[at]["bytes"]
        yield f"| bytes at the KL of DistillKit's best documented setting, {BUCKETS[at]} | {say.target(most, ratio <= most, '<=')} | {ratio:.2f} |"
    for at in BUCKETS:
        ratio = budget[at]["our_kl"] / budget[at]["kl"]
        yield f"| KL at the bytes of its *budget* setting, {BUCKETS[at]} | {say.target(0.2, ratio <= 0.2, '<=')} | {ratio:.2f} |"
    for arm, least in (("decode", 5.0), ("encode", 10.0)):
        ours, theirs = rates[f"{arm}_ours"], rates[f"{arm}_theirs"]
        middle = sorted(a / b for a, b in zip(ours, theirs))[len(ours) // 2]
        told = f"{say.ratios(ours, theirs)}: {_rate(ours)} against {_rate(theirs)} tokens a CPU-second"
        yield f"| {arm}, tokens a CPU-second | {say.target(least, middle >= least)} | {told} |"
    yield f"| rows with mass over 1 | 0 | {over} |"
    yield f"| a row of {128} positions decoded by itself, tokens a CPU-second | - | {_rate(rates['decode_one_row'])} |"


def _rate(values: list[float]) -> str:
    return f"{sorted(values)[len(values) // 2]:,.0f}"


def loss(found: Mapping[str, Any]) -> Iterator[str]:
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

"""The traps that other tools share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any


def traps(found: Mapping[str, Any]) -> Iterator[str]:
    tools = list(found["versions"])
    yield "## Traps that other tools share"
    yield ""
    yield f"`python benchmarks/traps.py`, torch {found['torch']}: one small check each, the same for all, through each tool's public interface at the"
    yield "settings that it documents; an option or a use that changes the verdict is named. The list, numbered as in `tests/traps`, is"
    yield "the one that potstill was built against: its own column says that it keeps to the list, not that it has no other traps. In row 1 logits"
    yield "come in bf16, as a bf16 model gives them; by PyTorch's documentation autocast on a GPU takes softmaxes to float32 (not run here)."
    yield ""
    yield "| | trap | " + " | ".join(f"{tool} {version}" for tool, version in found["versions"].items()) + " |"
    yield "|---" * (2 + len(tools)) + "|"
    for line in found["rows"]:
        verdicts = [line["tools"][tool]["verdict"] for tool in tools]
        cells = [verdict.replace("falls in", "**falls in**") if verdict != "no such part" else "-" for verdict in verdicts]
        yield f"| {line['row']} | {line['trap']} | {' | '.join(cells)} |"
    yield ""
    yield "A dash: no such part. What was seen:"
    yield ""
    for line in found["rows"]:
        yield f"- **{line['row']}, {line['trap']}**"
        for tool in tools:
            seen: dict[str, list[str]] = defaultdict(list)
            for evidence in line["tools"][tool]["evidence"]:
                seen[evidence["seen"]].append(evidence["setting"])
            if seen:
                yield f"    - {tool}: " + "; ".join(f"{' and '.join(f'*{name}*' for name in settings)}: {what}" for what, settings in seen.items())
    yield ""
    yield "Numbers that are not here:"
    yield ""
    yield from (f"- {rows}: {why}" for rows, why in found["left_out"].items())

"""`potstill serve` beside other servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import say


def served(found: Mapping[str, Any]) -> Iterator[str]:
    rates, singles, over, swap = found["rates"], found["singles"], found["overload"], found["swap"]
    median = {arm: sorted(values)[len(values) // 2] for arm, values in rates.items()}
    lit = max(("litserve", "litserve-8"), key=lambda arm: median[arm])
    overhead = singles["ours"]["p50_ms"] - found["bare"]["run_ms"]
    yield "## Served"
    yield ""
    yield f"`python benchmarks/serving.py --bundle DIR --peers PYTHON`: {found['machine']['cpu']}; client on one core, server on the other; a student of"
    yield f"{found['bundle_bytes'] / 1e6:.1f} MB; " + ", ".join(f"{name} {number}" for name, number in found["versions"].items()) + "."
    yield ""
    yield f"| server | highest rate with p99 <= {found['limit_ms']:.0f} ms: median and range | one at a time, p50 ms |"
    yield "|---|---|---|"
    for arm, values in rates.items():
        yield f"| {arm} | {median[arm]:,.0f}/s [{min(values):,.0f}, {max(values):,.0f}] | {singles[arm]['p50_ms']:.2f} |"
    yield ""
    yield "| claim | target | found |"
    yield "|---|---|---|"
    yield f"| rate against LitServe (the better of its two) | >= 1.5 | {say.ratios(rates['ours'], rates[lit])} |"
    yield f"| rate against the plain server | >= 1.2 | {say.ratios(rates['ours'], rates['plain'])} |"
    yield f"| one request over a bare ONNX Runtime call of {found['bare']['run_ms']:.2f} ms, p50 | <= 1 ms | {overhead:.2f} ms |"
    yield f"| five times its rate: p99 of those accepted | <= {over['limit_ms']:,.0f} ms | {over['p99_ms']:,.0f} ms |"
    yield f"| the rest is told 429 | all | {over['refused']:,} of {over['refused'] + over['other']:,} |"
    yield f"| memory before and after | flat | {over['memory_mb'][0]:.0f} MB, {over['memory_mb'][1]:.0f} MB |"
    yield f"| recovered in | < 1 s | {'not in 10 s' if over['recovery_s'] is None else format(over['recovery_s'], '.2f') + ' s'} |"
    yield f"| bundles swapped under load: errors | 0 | {swap['errors']} of {swap['requests']:,} requests, {swap['swaps']} swaps |"
    terms = found["sigterm"]
    late = sum(one["lost_after"] for one in terms)
    yield f"| SIGTERM under load: requests sent before it that got no answer | 0 | {sum(one['lost_before'] for one in terms)} in {len(terms)} rounds |"
    yield f"| of those sent after it, cut off with their connection; the others were answered, or told 503 | - | {late} |"
    sound = sum(one["sound"] for one in found["sigkill"])
    oldest = max(one["oldest_missing_s"] for one in found["sigkill"])
    yield f"| kill -9 under load: the traffic log is sound, the oldest row that it lost | all, < 1 s | {sound} of {len(found['sigkill'])}, {oldest:.2f} s |"


def cascaded(found: Mapping[str, Any]) -> Iterator[str]:
    ms = found["ms"]
    yield "## A teacher behind its student, live"
    yield ""
    yield "`python benchmarks/cascade_live.py --run runs/quickstart --risk 0.15`: the quickstart's student behind `potstill serve`, its teacher behind an"
    yield f"endpoint on loopback; {found['rows']:,} test rows sent once each, {found['rate']:g} a second. The policy was fitted on the run's calibration rows:"
    yield f"at most {found['risk']:.0%} of the answers that are kept are not what the teacher would have said, at 95 %. Prices as in a provider's"
    yield "list, tokens by the endpoint's own count; intervals take rows for independent."
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| passed on | {found['passed_on']:.1%}: {found['calls']:,} calls; {found['flagged']} rows flagged |"
    yield f"| kept answers that are not the teacher's | {_share(found['kept_differs'])}, {found['risk']:.0%} promised |"
    yield f"| kept answers that are wrong; the teacher's on these rows | {_share(found['kept_wrong'])}; {_share(found['teacher_wrong'])} |"
    yield f"| all answers that are wrong; the teacher's | {_share(found['all_wrong'])}; {_share(found['teacher_wrong_all'])} |"
    saved = 1 - found["usd"] / found["usd_teacher_alone"]
    yield f"| bill; the teacher's alone | {found['usd']:.4f} USD; {found['usd_teacher_alone']:.4f} USD: {saved:.1%} saved |"
    took = "; ".join(f"{ms[side][0]:.1f}, {ms[side][1]:.1f}" for side in ("kept", "passed"))
    yield f"| ms from when it was due, p50 and p99: kept; passed on | {took} |"


def _share(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"

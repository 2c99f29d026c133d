"""The page of a cascade's policy: what is kept, what is promised of it, what is passed on and what that costs. Drawn from ``policy.json`` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import storage
from . import plots, words
from .draw import Canvas, Scale, tick_label
from .markup import Child, Html, bullets, el, figure, section
from .page import document
from .tables import Column, pairs, table

Policy = Mapping[str, Any]
MILLION = 1_000_000


def write(policy_json: Path, html: Path) -> None:
    """Write the page of ``policy_json`` to ``html``. Raises DiskError where it can't be written."""
    storage.write_text(html, render(storage.read_json(policy_json)), point="policy.page")


def render(policy: Policy) -> Html:
    """Return the whole page."""
    found = [_curve(policy), _tried(policy), _labels(policy), _record(policy)]
    body = el("body", el("main", _head(policy), [part for part in found if part]), el("footer", f"Made by potstill {policy['potstill']} from policy.json."))
    return document(f"{headline(policy)} · cascade · potstill", body)


def headline(policy: Policy) -> str:
    """Return what the policy does, in a few words."""
    return "Passes all on" if _keeps_nothing(policy) else f"Keeps {_percent(1 - policy['rule']['passed_on'])}"


def promise(policy: Policy) -> str:
    """Return the sentence that is guaranteed, or what is missing for one."""
    rule, judge = policy["rule"], {"gold": "wrong", "teacher": "not what the teacher would have said"}[policy["against"]]
    if _keeps_nothing(policy):
        told = f"Nothing could be certified on {words.rows_of(rule['n'], 'calibration row')}, so every request goes to the teacher."
        if rule["rows_needed"] is None:
            return f"{told} The surest answers are {judge} too often: more rows of this kind would not help."
        return f"{told} It is likely to take about {words.rows_of(rule['rows_needed'])}."
    each = "of each label's answers that are kept" if policy["by_label"] else "of the answers that are kept"
    return f"At {_percent(policy['confidence'])} confidence, at most {_percent(policy['risk'])} {each} are {judge}, for requests like the calibration rows."


def _keeps_nothing(policy: Policy) -> bool:
    return bool(policy["rule"]["kept"] == 0)


def _percent(share: float | None, digits: int = 1) -> str:
    if share is None:
        return words.DASH
    return words.number(100 * share, 0 if abs(100 * share - round(100 * share)) < 1e-9 else digits, "%")


def _head(policy: Policy) -> Html:
    rule, limits = policy["rule"], policy["limits"]
    low, high = _percent(rule["passed_on_low"]), _percent(rule["passed_on_high"])
    cost, alone = rule["passed_on"] * limits["usd_per_1000"] * 1000, limits["usd_per_1000"] * 1000
    tiles = [
        ("Passed on to the teacher", _percent(rule["passed_on"]), f"{low} to {high}"),
        ("Wrong among kept, at most", _percent(rule["bound"], 2), f"{rule['wrong']:,} of {rule['kept']:,} rows seen"),
        ("Kept where confidence is above", "by label" if policy["by_label"] else words.number(rule["threshold"], 4), "the student's probability"),
        ("Teacher's bill for a million", f"${cost:,.2f}" if alone else words.DASH, f"${alone:,.2f} without the student" if alone else "no price was given"),
    ]
    shown = [el("div.tile", el("span.what", what), el("span.big", big), el("span.beside", beside)) for what, big, beside in tiles]
    look = "unsure" if _keeps_nothing(policy) else "good"
    notes = [el("p.note", note) for note in warnings(policy)]
    title = el("p.kicker", f"Cascade of the bundle {policy['bundle'][:12]}")
    return el(f"header.verdict.{look}", title, el("h1", headline(policy)), el("p.standfirst", promise(policy)), el("div.tiles", shown), notes)


def warnings(policy: Policy) -> list[str]:
    """Return what a reader must know beside the promise."""
    found = []
    if policy["rows"]["groups"] is not None:
        found.append(f"Rows come in {policy['rows']['groups']:,} groups: bounds are cluster-robust, and the exact one on the rows' worth.")
    if policy["by_label"] and (silent := [label for label, rule in policy["by_label"].items() if rule["kept"] == 0]):
        found.append(f"Nothing is certified, so all is passed on, of: {', '.join(silent[:20])}{' ...' if len(silent) > 20 else ''}.")
    return found


# ------------------------------------------------------------------------------------------------------------ the curve
def _curve(policy: Policy) -> Html | None:
    if not policy["curve"]:
        return None
    rule = policy["rule"]
    told = "Of the calibration rows that are kept, how many are wrong, as ever more of the least sure are passed on."
    desc = f"{told} Chosen: {_percent(rule['passed_on'])} passed on. Allowed: {_percent(policy['risk'])}."
    caption = "The line is what was seen, the bars its 95 % interval at each place by itself."
    if not _keeps_nothing(policy):
        caption += " The choice lies to the right of where the line meets the limit: there the upper bound does, at the stated confidence."
    drawn = plots.drawn("risk", lambda width, key, look: _draw(policy, width, key, look, desc))
    return section("risk", "Risk against share passed on", figure(*drawn, caption=caption), lead=told)


def _draw(policy: Policy, width: float, key: str, look: str, desc: str) -> Html:
    canvas = Canvas(width, 0.42 * width if width > plots.NARROW else 0.9 * width)
    curve, rule, risk = policy["curve"], policy["rule"], policy["risk"]
    top = min(1.0, max(1.6 * risk, 1.1 * max(place["risk"] for place in curve), 1.2 * (rule["bound"] or 0)))
    x, y = Scale(0, 100, 44, canvas.width - 12), Scale(0, 100 * top, canvas.height - 40, 18)
    _axes(canvas, x, y)
    canvas.rect(x.start, y(100 * risk), x.end - x.start, y.start - y(100 * risk), "region")
    for place in curve:
        at = x(100 * place["passed_on"])
        canvas.line(at, y.inside(100 * place["low"]), at, y.inside(100 * place["high"]), "whisker.control")
    canvas.path([(x(100 * place["passed_on"]), y.inside(100 * place["risk"])) for place in curve], "curve.student")
    canvas.line(x.start, y(100 * risk), x.end, y(100 * risk), "limit")
    canvas.text(x.end, y(100 * risk) - 5, f"allowed, {_percent(risk)}", "good.over", "end")
    if rule["kept"]:
        at, seen = x(100 * rule["passed_on"]), rule["wrong"] / rule["kept"]
        canvas.line(at, y(100 * seen), at, y(100 * (rule["bound"] or seen)), "bar.good")
        canvas.circle(at, y(100 * seen), 5, "point.good")
        canvas.label([(at, y(100 * seen))], 9, "chosen, and its bound", "good.over")
    return canvas.svg(key, "risk against share passed on", desc, look)


def _axes(canvas: Canvas, x: Scale, y: Scale) -> None:
    for scale, draw in ((x, _vertical), (y, _horizontal)):
        ticks = scale.ticks(6 if canvas.width > plots.NARROW else 5)
        for at in ticks:
            draw(canvas, x, y, at, tick_label(at, ticks))
    canvas.line(x.start, y.start, x.end, y.start, "axis")
    canvas.text(x.end, y.start + 33, "passed on, %", "muted", "end")
    canvas.text(2, 10, "wrong among kept, %", "muted")


def _vertical(canvas: Canvas, x: Scale, y: Scale, at: float, label: str) -> None:
    canvas.line(x(at), y.end, x(at), y.start, "grid")
    canvas.text(x(at), y.start + 16, label, "muted", "middle")


def _horizontal(canvas: Canvas, x: Scale, y: Scale, at: float, label: str) -> None:
    canvas.line(x.start, y(at), x.end, y(at), "grid")
    canvas.text(x.start - 6, y(at) + 4, label, "muted", "end")


# ------------------------------------------------------------------------------------------------------------- the tables
def _tried(policy: Policy) -> Html | None:
    tried = policy["rule"]["tried"]
    if not tried:
        return None
    titles = ("Kept above", "Rows kept", "Wrong", "Share", "Bound")
    columns = [*(Column(title, "number") for title in titles), Column("")]
    rows: list[Sequence[Child]] = [
        [words.number(t["threshold"], 4), words.number(t["kept"]), words.number(t["wrong"]), _percent(t["wrong"] / t["kept"], 2), _percent(t["bound"], 2),
         "certified" if t["certified"] else "not certified: here the walk ends"]
        for t in tried
    ]  # fmt: skip
    lead = "The thresholds, in the order in which they were tried: fixed before the answers were looked at."
    return section("tried", "How it was chosen", table("Thresholds that were tried", columns, rows), lead=lead)


def _labels(policy: Policy) -> Html | None:
    if not policy["by_label"]:
        return None
    titles = ("Kept above", "Told to rows", "Kept", "Wrong", "Bound", "Passed on", "Rows likely needed")
    rows: list[Sequence[Child]] = [
        [label, words.number(r["threshold"], 4), words.number(r["n"]), words.number(r["kept"]), words.number(r["wrong"]), _percent(r["bound"], 2),
         _percent(r["passed_on"]), words.number(r["rows_needed"])]
        for label, r in policy["by_label"].items()
    ]  # fmt: skip
    columns = [Column("Label"), *(Column(title, "number") for title in titles)]
    lead = "Each label's rule is fitted at its share of the chance to err, so that all hold together."
    return section("labels", "Label by label", table("Rules by label", columns, rows), lead=lead)


def _record(policy: Policy) -> Html:
    rows, limits, sets = policy["rows"], policy["limits"], policy["sets"]
    left = [f"{count:,} left out: {reason}" for reason, count in rows["left_out"].items()]
    held = f"a label from {words.number(sets['level'], 4)} on; {_percent(sets['coverage'])} of sets hold the right label" if sets else None
    told = {
        "Bundle": el("code", policy["bundle"]), "Judged against": policy["against"], "Calibration rows": f"{policy['rule']['n']:,}, {rows['source']}",
        "Left out": bullets(left) if left else None, "Label sets": held, "At most a second": limits["per_second"],
        "At most an hour": None if limits["usd_per_hour"] is None else f"${limits['usd_per_hour']:g}",
        "Teacher unreachable, or a limit reached": {"student": "the student's answer, flagged", "refuse": "503"}[limits["unreachable"]],
        "Waits for the teacher": f"{limits['timeout_s']:g} s", "Fitted with": ", ".join(str(value) for value in policy["runtime"].values()),
        "Fitted at": policy["created"],
    }  # fmt: skip
    return section("record", "The record", pairs(told))

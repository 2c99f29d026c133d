"""Tables: of records, of measures by model, of pairs; wide ones scroll inside their frame, never the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .markup import Child, Html, each, el


@dataclass(frozen=True)
class Column:
    """A column's heading; ``kind`` is "number" for what stands right, "words" or "picture"."""

    title: str
    kind: str = "words"


def scrolling(name: str, *children: Child) -> Html:
    """Return a frame that scrolls sideways, reachable with the keyboard."""
    return el("div.scroll", children, attrs={"role": "region", "aria-label": name, "tabindex": "0"})


def table(name: str, columns: Sequence[Column], rows: Sequence[Sequence[Child]], *, look: str = "plain") -> Html:
    """Return a table with a heading row; the first cell of each row heads it. On a phone a table of ``look`` "cards" is a list."""
    head = el("tr", [el(f"th.{c.kind}", c.title, attrs={"scope": "col"}) for c in columns])
    body = [
        el("tr", [_cell(column, cell, first=i == 0) for i, (column, cell) in enumerate(zip(columns, row))]) for row in rows
    ]  # fmt: skip
    made = el(f"table.{look}", el("caption.unseen", name), el("thead", head), el("tbody", body))
    return made if look.startswith("cards") else scrolling(name, made)


def _cell(column: Column, cell: Child, *, first: bool) -> Html:
    if first:
        return el(f"th.{column.kind}", cell, attrs={"scope": "row"})
    return el(f"td.{column.kind}", cell, attrs={"data-title": column.title})


def matrix(name: str, models: Sequence[tuple[Child, str]], groups: Sequence[tuple[str, Sequence[tuple[Child, Sequence[Child]]]]]) -> Html:
    """Return measures (rows, in groups) by models (columns: heading and look); a row that says nothing of any model is left out."""
    head = el("tr", el("td"), [el(f"th.number.{look}".rstrip("."), title, attrs={"scope": "col"}) for title, look in models])
    bodies = []
    for title, rows in groups:
        told = [(measure, cells) for measure, cells in rows if any(cell not in (None, "", "–") for cell in cells)]
        if not told:
            continue
        lines = [el("tr.group", el("th", title, attrs={"scope": "rowgroup", "colspan": len(models) + 1}))]
        for measure, cells in told:
            shown = [el(f"td.number.{look}".rstrip("."), "–" if cell in (None, "") else cell) for cell, (_, look) in zip(cells, models)]
            lines.append(el("tr", el("th", measure, attrs={"scope": "row"}), shown))
        bodies.append(el("tbody", lines))
    return scrolling(name, el("table.matrix", el("caption.unseen", name), el("thead", head), bodies))


def pairs(values: Mapping[str, Child]) -> Html:
    """Return a list of names and what they are; what is None is left out."""
    return el("dl", [el("div", el("dt", key), el("dd", value)) for key, value in values.items() if value is not None])


def figure_cell(main: str, under: str | None = None) -> Html:
    """Return a number with its interval under it."""
    return el("span.figure", main, el("small", under) if under else None)


def mark(status: str) -> Html:
    """Return a status in words and color."""
    words = {
        "pass": ("good", "pass"), "fail": ("bad", "fail"), "inconclusive": ("unsure", "inconclusive"),
        "yes": ("good", "meets it"), "no": ("bad", "does not meet it"), "open": ("unsure", "not shown to meet it"),
    }  # fmt: skip
    look, word = words.get(status, ("unsure", status))
    return el(f"span.mark.{look}", word)


def lines(children: Sequence[Child]) -> Html:
    return each("p", children)

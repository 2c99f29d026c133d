"""The page: verdict first, then the evidence, then the record. Drawn from ``report.json`` alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from .. import storage
from . import answers, comparison, making, record, robustness, students, verdict
from .markup import Html, el
from .view import View

MOST_BYTES = 1_000_000
SECTIONS: Sequence[Callable[[View], Html | None]] = (
    verdict.requirement, comparison.trade, comparison.table, comparison.gains, answers.answers, students.curves, students.calibration, students.slices,
    robustness.robustness, students.flips, making.making, record.cost, record.data, record.limits, record.licenses, record.machine, record.again,
)  # fmt: skip
# Nothing may be loaded and nothing may run, whatever a text in the report says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def write(report_json: Path, html: Path) -> None:
    """Write the page of ``report_json`` to ``html``. Raises DiskError where it can't be written."""
    storage.write_text(html, render(View(storage.read_json(report_json))), point="page")


def render(view: View) -> Html:
    """Return the whole page."""
    found = [made for make in SECTIONS if (made := make(view))]
    body = el("body", el("main", verdict.head(view), found, record.glossary()), _footer(view))
    return document(f"{verdict.headline(view)} · {view.report.get('name', '')} · potstill", body)


def document(title: str, body: Html) -> Html:
    """Return a whole page that loads nothing and runs nothing: its head with the style, and ``body``."""
    style = Html(resources.files(__package__).joinpath("style.css").read_text("utf-8"))
    head = el(
        "head",
        el("meta", attrs={"charset": "utf-8"}),
        el("meta", attrs={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el("meta", attrs={"name": "color-scheme", "content": "light dark"}),
        el("meta", attrs={"http-equiv": "Content-Security-Policy", "content": POLICY}),
        el("title", title),
        el("style", style),
    )
    return Html("<!doctype html>\n" + el("html", head, body, attrs={"lang": "en"}) + "\n")


def _footer(view: View) -> Html:
    made = f"Made by potstill {view.report.get('potstill', '')} from report.json, schema {view.report.get('schema', '')}."
    return el("footer", f"{made} This page loads nothing and runs nothing.")

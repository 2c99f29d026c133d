"""HTML as values: what is not markup by type is escaped, so that no text of a user's can become markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence


class Html(str):
    """Markup. Made by :func:`el`, or from our own constants; never from a report's strings."""

    __slots__ = ()


Child = object  # Html as it is; None nothing; lists one after the other; all else as escaped text
NOTHING: Mapping[str, object] = {}
VOID = {"br", "meta", "line", "circle", "rect", "path"}


def text(child: Child) -> Html:
    """Return ``child`` as markup."""
    if child is None:
        return Html()
    if isinstance(child, Html):
        return child
    if isinstance(child, list | tuple):
        return Html("".join(map(text, child)))
    return Html(html.escape(_printable(str(child))))


def _printable(words: str) -> str:
    """Make visible what HTML may not hold: control characters and lone surrogates."""
    return "".join(c if c >= " " or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in words).encode("utf-8", "replace").decode()


def el(name: str, *children: Child, attrs: Mapping[str, object] = NOTHING) -> Html:
    """Return an element; ``name`` may bring classes along ("td.number"). Attributes of None are left out."""
    tag, *classes = name.split(".")
    given = {"class": " ".join(classes) or None, **attrs}
    inside = "".join(f' {key}="{html.escape(_printable(str(value)))}"' for key, value in given.items() if value is not None)
    return Html(f"<{tag}{inside}/>") if tag in VOID and not children else Html(f"<{tag}{inside}>{text(children)}</{tag}>")


def each(name: str, children: Iterable[Child]) -> Html:
    """Return one element for each child."""
    return Html("".join(el(name, child) for child in children))


def bullets(lines: Sequence[Child], *, name: str = "ul") -> Html:
    """Return a list; nothing where there are no lines."""
    return el(name, each("li", lines)) if lines else Html()


def section(key: str, title: str, *children: Child, lead: Child = None) -> Html:
    """Return a section with a heading and, under it, a sentence that says what is to be seen."""
    head = [el("h2", title, attrs={"id": f"{key}-title"}), el("p.lead", lead) if lead else None]
    return el("section", head, children, attrs={"id": key, "aria-labelledby": f"{key}-title"})


def details(summary: Child, *children: Child) -> Html:
    """Return something that opens when it is asked for; printed open."""
    return el("details", el("summary", summary), el("div.inside", children))


def figure(*children: Child, caption: Child = None) -> Html:
    return el("figure", children, el("figcaption", caption) if caption else None)

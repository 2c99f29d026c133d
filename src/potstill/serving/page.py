"""The page at /: one file that asks for nothing from elsewhere; what it shows it gets from /v1/live, and a content policy lets it do no more."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources

from starlette.responses import Response


@functools.cache
def page() -> tuple[str, str]:
    """Return the page, and the policy that allows its own style and script by their hashes, and nothing else."""
    package = resources.files("potstill")
    style = (package / "report" / "style.css").read_text("utf-8") + (package / "serving" / "page.css").read_text("utf-8")
    script = (package / "serving" / "page.js").read_text("utf-8")
    html = (package / "serving" / "page.html").read_text("utf-8").replace("/*style*/", style).replace("/*script*/", script)
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )  # fmt: skip
    return html, policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def response() -> Response:
    html, policy = page()
    headers = {"content-security-policy": policy, "cache-control": "no-store", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
    return Response(html, media_type="text/html; charset=utf-8", headers=headers)

"""The page in headless Chromium: no complaint, nothing wider than a phone, dark where the reader's system is, printed open."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess

import pytest

from potstill.report.page import render
from potstill.report.view import View
from tests.report.sample import SAMPLES, bare, ship

BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
if BROWSER is None:
    pytest.skip("no Chromium here: the page was not looked at in a browser", allow_module_level=True)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --hide-scrollbars --enable-logging=stderr --log-level=0 --virtual-time-budget=4000"
).split()
DARK = "--blink-settings=preferredColorScheme=0"
# The page, in a frame as wide as a screen; the frame's parent measures it. The page itself runs nothing.
FRAME = """<!doctype html><iframe id="page" width="{width}" height="900" srcdoc="{page}"></iframe><pre id="told"></pre><script>
addEventListener("load", () => {{
  const frame = document.getElementById("page"), page = frame.contentDocument, seen = e => e.getClientRects().length && !e.closest(".scroll, .unseen");
  const wide = [...page.body.querySelectorAll("*")].filter(e => seen(e) && e.getBoundingClientRect().right > {width} + 0.5)
  const style = name => getComputedStyle(page.querySelector(name))
  const small = [...page.querySelectorAll("p, td, th, dd, svg text, small")].filter(seen).map(e => {{
    const svg = e.ownerSVGElement, shrunk = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1
    return parseFloat(frame.contentWindow.getComputedStyle(e).fontSize) * shrunk
  }})
  document.getElementById("told").textContent = JSON.stringify({{
    width: page.documentElement.scrollWidth, wide: wide.map(e => e.outerHTML.slice(0, 120)), least: Math.min(...small),
    ground: frame.contentWindow.getComputedStyle(page.documentElement).backgroundColor,
    shown: [...page.querySelectorAll("svg.plot")].filter(e => e.getClientRects().length).map(e => e.getAttribute("class")),
  }})
}})
</script>"""


def browse(folder, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the browser with a profile of its own."""
    environment = {**os.environ, "HOME": str(folder)}
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def look(report, folder, width: int, *more: str) -> dict:
    """Return what the browser measured of the page of ``report`` at ``width``."""
    (folder / "frame.html").write_text(FRAME.format(width=width, page=html.escape(render(View(report)))), "utf-8")
    done = browse(folder, "--window-size=1400,1000", "--dump-dom", *more, (folder / "frame.html").as_uri())
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-1500:]
    assert "CONSOLE" not in done.stderr, done.stderr[-1500:]
    return json.loads(html.unescape(found.group(1)))


@pytest.mark.parametrize("width", [pytest.param(320, marks=pytest.mark.slow), 390])
def test_nothing_is_wider_than_a_phone(width, tmp_path):
    found = look(ship(), tmp_path, width)
    assert found["wide"] == []
    assert found["width"] <= width
    assert "plot narrow" in found["shown"]
    assert "plot wide" not in found["shown"]
    assert found["least"] >= 9.5  # pixels


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no_gold", "inconclusive", "do_not_ship", "bare"])
def test_other_pages_fit_too(name, tmp_path):
    found = look({**SAMPLES, "bare": bare}[name](), tmp_path, 360)
    assert found["wide"] == []
    assert found["width"] <= 360


def test_long_words_of_a_user_do_not_widen_the_page(tmp_path):
    report = ship()
    report["name"] = "n" * 200
    report["students"][0]["flips"]["harmful"][0].update(text="x" * 3000, gold="y" * 300, place="/a/very/long/folder" * 20)
    report["students"][0]["slices"][0]["value"] = "z" * 300
    report["verdict"]["reasons"] = ["r" * 500]
    report["limits"] = ["l" * 500]
    report["command"] = "potstill run " + "/folder" * 60
    report["data"]["dropped"] = {"d" * 300: 1}
    found = look(report, tmp_path, 360)
    assert found["wide"] == []


def test_on_a_desk_the_wide_drawings_are_shown_in_light_colors(tmp_path):
    found = look(ship(), tmp_path, 1200)
    assert found["wide"] == []
    assert "plot narrow" not in found["shown"]
    assert found["ground"] == "rgb(255, 255, 255)"


@pytest.mark.slow
def test_dark_where_the_reader_likes_it_dark(tmp_path):
    assert look(ship(), tmp_path, 1200, DARK)["ground"] == "rgb(19, 22, 26)"


def test_the_page_alone_complains_of_nothing_and_prints(tmp_path):
    (tmp_path / "report.html").write_text(render(View(ship())), "utf-8")
    done = browse(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}", (tmp_path / "report.html").as_uri())
    assert "CONSOLE" not in done.stderr, done.stderr[-1500:]
    printed = (tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 20

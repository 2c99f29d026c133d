"""The server's page in headless Chromium: it shows what is so, complains of nothing, fits a phone, is dark where that is liked; keys and inputs are not on it."""

from __future__ import annotations

import html
import json
import re

import pytest

from potstill.cascade.policy import write
from potstill.cascading import Asked, fit
from tests.cascade.small import bundle, jsonl, labelled
from tests.report.test_page_in_browser import DARK, FRAME, browse  # skips where there is no browser
from tests.serving.live import serving

pytestmark = pytest.mark.slow
SECRET, PRIVATE = "sk-do-not-show-this", "a very private text"


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A server with a policy but no teacher, after some traffic; its page as the browser made it, and what the page asked for."""
    made = tmp_path_factory.mktemp("page")
    tickets = bundle(made / "tickets")
    policy = fit(tickets, Asked(risk=0.05, limits={"usd_per_1000": 2.0}), data=jsonl(made / "rows.jsonl", labelled(tickets, 2500)))
    write(made / "policy.json", policy)
    with serving(tickets, "--policy", made / "policy.json", folder=made) as running, running.client() as client:
        texts = [row["text"] for row in labelled(tickets, 30, seed=3)]
        for text in [*texts, PRIVATE]:
            assert client.post("/v1/predict", json={"inputs": [text] * 2}).status_code == 200
        client.get("/v1/predict")
        import time

        time.sleep(1.1)  # the second that runs is not shown
        done = browse(made, "--window-size=1300,1000", "--dump-dom", f"{running.url}/")
        answer = client.get("/")
        yield done, client.get("/v1/live").json(), answer, running.url


def test_it_shows_what_is_so_and_complains_of_nothing(shown):
    done, numbers, answer, _ = shown
    assert "CONSOLE" not in done.stderr, done.stderr[-1500:]
    page = done.stdout
    assert ">Serving<" in page
    assert "31 requests were answered" in page
    assert re.search(r'id="latency">[\d.]+ ms', page)
    assert re.search(r'id="cost">\$0\.00<', page)
    assert re.search(r'id="cost-beside">\$0\.124 by the teacher alone', page)
    assert page.count("<svg") == 4
    assert f">{numbers['served']['tickets'][0]['digest'][:12]}</td>" in page
    assert "running the model" in page
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_no_input_answer_or_folder_is_on_it(shown):
    done, numbers, answer, _ = shown
    for word in (PRIVATE, "private", '"label"', "maybe", "/tmp/", SECRET):
        assert word not in done.stdout + json.dumps(numbers) + answer.text


def frame(page, folder, width, *more):
    """What the browser measures of a page that has been drawn, in a frame as wide as a screen."""
    still = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    (folder / "frame.html").write_text(FRAME.format(width=width, page=html.escape(still)), "utf-8")
    done = browse(folder, "--window-size=1400,1000", "--dump-dom", *more, (folder / "frame.html").as_uri())
    return json.loads(html.unescape(re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.S)[1]))


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_it_fits(shown, width, tmp_path):
    found = frame(shown[0].stdout, tmp_path, width)
    assert found["wide"] == []
    assert found["width"] <= width
    assert found["least"] >= 8.0  # pixels
    assert found["ground"] == "rgb(255, 255, 255)"


def test_it_is_dark_where_the_reader_likes_it_dark(shown, tmp_path):
    assert frame(shown[0].stdout, tmp_path, 1200, DARK)["ground"] == "rgb(19, 22, 26)"


def test_with_keys_the_page_is_there_and_its_numbers_are_not(tmp_path):
    tickets = bundle(tmp_path / "tickets")
    with serving(tickets, "--api-key-env", "CLIENT_KEY", folder=tmp_path, env={"CLIENT_KEY": SECRET}) as running, running.client() as client:
        done = browse(tmp_path, "--dump-dom", f"{running.url}/")
        assert client.get("/v1/live").status_code == 401
        assert client.get("/v1/live", headers={"authorization": f"Bearer {SECRET}"}).status_code == 200
        assert ">Locked<" in done.stdout
        assert 'id="form" hidden' not in done.stdout
        assert SECRET not in done.stdout + client.get("/").text
        assert "tickets" not in done.stdout

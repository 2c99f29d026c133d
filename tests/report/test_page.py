"""The page, read as text: what it says, in which order, and that no text of a report's can become markup."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser

import pytest
from jsonschema import Draft202012Validator

from potstill import storage
from potstill.report import schema
from potstill.report.page import MOST_BYTES, POLICY, render, write
from potstill.report.view import View
from tests.report.sample import SAMPLES, bare, ship

ALL = {**SAMPLES, "bare": bare}
HEADLINES = {
    "ship": "Ship half", "no_requirement": "No requirement, so no verdict", "no_gold": "Not measured well enough to tell",
    "inconclusive": "Not enough test rows to tell", "do_not_ship": "Do not ship", "bare": "No requirement, so no verdict",
}  # fmt: skip
VOID = {"meta", "br"}
EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)></style></title><svg onload=alert(3)>'&amp;"


class Reader(HTMLParser):
    """Gathers tags, attributes, ids and text, and whether tags nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.ids, self.words, self.open = set(), set(), [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(report) -> Reader:
    return Reader(render(View(report)))


@pytest.mark.parametrize("name", ALL)
def test_samples_follow_the_schema(name):
    Draft202012Validator.check_schema(schema())
    assert list(Draft202012Validator(schema()).iter_errors(ALL[name]())) == []


def test_the_schema_misses_a_key_of_the_contract():
    broken = ship()
    del broken["students"][0]["retention"]
    broken["verdict"]["decision"] = "maybe"
    assert len(list(Draft202012Validator(schema()).iter_errors(broken))) == 2


@pytest.mark.parametrize("name", ALL)
def test_the_verdict_comes_first(name):
    page = render(View(ALL[name]()))
    assert re.search(r"<h1>(.*?)</h1>", page).group(1) == HEADLINES[name]
    assert page.index("<h1>") < page.index("<h2") if "<h2" in page else True
    assert f"<title>{HEADLINES[name]}" in page


def test_sections_stand_in_order():
    page = render(View(ship()))
    order = re.findall(r'<section id="(\w+)"', page)
    assert order == [
        "requirement", "trade", "models", "gains", "curves", "calibration", "slices", "robustness", "flips", "making", "cost", "data", "limits",
        "licenses", "machine", "again", "words",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_one_small_file_that_loads_and_runs_nothing(name, tmp_path):
    storage.write_json(tmp_path / "report.json", ALL[name]())
    write(tmp_path / "report.json", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert len(page.encode()) < MOST_BYTES
    found = Reader(page)
    assert not found.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert not found.attributes & {"href", "src", "srcset", "action", "xlink:href"}
    assert not [name for name in found.attributes if name.startswith("on")]
    assert "url(" not in page
    assert "@import" not in page
    assert POLICY in page.replace("&#x27;", "'")
    assert len(found.ids) == len(set(found.ids))


@pytest.mark.parametrize("name", ALL)
def test_pictures_say_in_words_what_they_show(name):
    page = render(View(ALL[name]()))
    for svg in re.findall(r"<svg[^>]*>.*?</svg>", page, re.S):
        assert 'aria-hidden="true"' in svg or re.search(r"<title[^>]*>[^<]+</title><desc[^>]*>[^<]+</desc>", svg), svg[:200]


def poisoned(value, key=""):
    """Put markup into every text that a user, a teacher or a file name could bring."""
    if isinstance(value, dict):
        return {name: poisoned(inner, name) for name, inner in value.items()} | ({EVIL: 1} if key in ("dropped", "versions") else {})
    if isinstance(value, list):
        return [poisoned(inner, key) for inner in value]
    return value + EVIL if isinstance(value, str) and key not in ("decision", "status", "metric") else value


@pytest.mark.parametrize("name", ["ship", "no_gold"])
def test_no_text_becomes_markup(name):
    clean, dirty = read(ALL[name]()), read(poisoned(ALL[name]()))
    assert dirty.tags <= clean.tags
    assert dirty.attributes <= clean.attributes
    assert "alert(1)" in dirty.text


def test_texts_that_are_hardly_texts():
    report = ship()
    report["students"][0]["flips"]["harmful"][0]["text"] = "\x00\x08 \ud800 שלום \u202e\N{PILE OF POO} " + "x" * 5000
    page = render(View(report))
    page.encode("utf-8")
    assert "\x00" not in page
    assert "שלום" in page


def test_the_requirement_shows_bounds_and_what_n_counts():
    text = read(ship()).text.replace("\u202f", " ")
    for shown in ("at most 2 points", "0.61 points", "−0.15 to 1.37", "214 groups", "1,000 calls", "8 rounds", "at least 4×", "α = 0.04"):
        assert shown in text, shown


def test_a_student_that_was_not_tested_says_why():
    assert "a student before it in the sequence was not shown to be good enough" in read(ship()).text


def test_rows_needed_are_told_once():
    assert read(SAMPLES["inconclusive"]()).text.count("1,890") == 1
    report = SAMPLES["inconclusive"]()
    report["verdict"]["advice"] = []
    assert "About 1,890 test rows" in read(report).text


def test_without_gold_the_reason_is_told():
    text = read(SAMPLES["no_gold"]()).text
    assert "there is no gold in validation and test" in text
    assert "agrees with its teacher on" in text


def test_changed_texts_show_what_they_cost_whom():
    text = read(ship()).text.replace("\u202f", " ")
    assert "A sample of 500 test rows" in text
    assert "ngram is more brittle than its teacher, even when all comparisons are allowed for: typos, cut short, another kind." in text
    assert "half is more brittle" not in text
    assert "Rows of another kind are held against all test rows." in text
    assert "No capitals: all 500 rows are so already." in text
    assert "⇥UNSPECIFIED OPEN WOUND OF LEFT FRONT WALL OF THORAX␣␣⏎" in text


def test_a_teacher_that_was_not_asked_about_changed_texts_is_not_drawn():
    text = read(SAMPLES["no_gold"]()).text
    assert "The teacher is not drawn: a recorded teacher can't be asked about changed texts." in text
    assert "More than the teacher" not in text
    assert "the share of its teacher’s answers to the texts as they are" in text


def test_several_seeds_show_their_mean_beside_them():
    report = ship()
    one = report["students"][0]
    one["by_seed"] = [{**one["by_seed"][0], "seed": seed, "chosen": seed == 1} for seed in range(3)]
    interval = {"value": 0.7954, "low": 0.7821, "high": 0.8088, "n": 214, "method": "bootstrap over groups and 3 seeds"}
    one["over_seeds"] = {"quality": interval, "quality_drop": {**interval, "value": 0.0088, "low": -0.0011, "high": 0.0192}}
    assert list(Draft202012Validator(schema()).iter_errors(report)) == []
    text = read(report).text.replace("\u202f", " ")
    assert "all, mean 79.5 % 78.2 % to 80.9 %" in text
    assert "drop 0.88 points (−0.11 to 1.92)" in text


def test_reasons_for_what_is_not_told_are_in_plain_words():
    report = ship()
    report["unmeasured"] = {"energy_j_per_1000": "no meter", "teacher.latency_ms": "recorded", "teacher.throughput_per_s": "recorded"}
    assert "Not told: energy (no meter); teacher’s latency, teacher’s throughput (recorded)." in read(report).text


def test_licenses_that_nobody_knows_are_pointed_at():
    report = ship()
    report["licenses"]["teacher outputs"] = "unknown"
    assert "Unknown: teacher outputs." in read(report).text


@pytest.mark.parametrize("metric", ["macro_f1", "mcc", "log_loss"])
def test_other_metrics(metric):
    report = ship()
    report["metric"] = report["requirement"]["quality"]["metric"] = metric
    for student in report["students"]:
        student["checks"][0]["unit"] = f"drop in {metric}"
    text = read(report).text
    assert {"macro_f1": "macro-F1", "mcc": "MCC", "log_loss": "log-loss"}[metric] in text
    assert ("points" in text) == (metric == "macro_f1") or metric != "macro_f1"


def test_a_relative_drop_is_told_in_percent():
    report = ship()
    report["requirement"]["quality"] = {"metric": "accuracy", "max_relative_drop": 0.03, "confidence": 0.95}
    report["students"][0]["checks"][0].update(unit="relative drop in accuracy", required=0.03)
    assert "at most 3 %" in read(report).text.replace("\u202f", " ")


def nulled(report):
    """Give the report with each key of teacher, student, data, cost and the top in turn null, where the schema allows it."""
    valid = Draft202012Validator(schema())
    places = [(), ("teacher",), ("students", 0), ("students", 0, "control"), ("data",), ("cost",), ("machine",), ("verdict",)]
    for place in places:
        inner = report
        for key in place:
            inner = inner[key]
        for key in list(inner):
            made = copy.deepcopy(report)
            at = made
            for step in place:
                at = at[step]
            at[key] = None
            if valid.is_valid(made):
                yield (*place, key), made


def test_whatever_may_be_null_may_be_null():
    report = ship()
    report["students"] = report["students"][:1]
    for key in ("slices", "ladder"):
        report["students"][0][key] = report["students"][0][key][:2]
    report["data"]["by_label"] = {}
    places = [place for place, made in nulled(report) if read(made)]
    assert ("students", 0, "control") in places
    assert ("teacher", "latency_ms") in places
    assert len(places) > 40


def test_many_students_and_labels_stay_small(tmp_path):
    report = ship()
    report["students"] = [{**copy.deepcopy(report["students"][0]), "name": f"student-{i}"} for i in range(12)]
    report["data"]["labels"] = [f"label {i}" for i in range(500)]
    report["data"]["by_label"] = {split: dict.fromkeys(report["data"]["labels"], 3) for split in ("train", "validation", "test")}
    for student in report["students"]:
        for side in ("harmful", "beneficial"):
            student["flips"][side] = [{**student["flips"][side][0], "text": "word " * 80} for _ in range(12)]
    assert len(render(View(report)).encode()) < MOST_BYTES


def luminance(color: str) -> float:
    digits = color.lstrip("#")
    digits = "".join(2 * c for c in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_colors_can_be_told_from_their_ground(scheme):
    style = render(View(ship())).partition("<style>")[2].partition("</style>")[0]
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", blocks[["light", "dark", "print"].index(scheme)]))
    pairs = [(ink, ground) for ink in ("ink", "muted", "student", "teacher", "control", "good", "bad", "unsure") for ground in ("paper",)]
    pairs += [(look, f"{look}-tint") for look in ("good", "bad", "unsure")] + [("ink", "good-tint"), ("muted", "good-tint"), ("ink", "panel")]
    for ink, ground in pairs:
        a, b = sorted((luminance(colors[ink]), luminance(colors[ground])))
        assert (b + 0.05) / (a + 0.05) >= 4.5, (scheme, ink, ground)

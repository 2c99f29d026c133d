"""The section of an endpoint: where it may be, that a key is named, and what does not fit together."""

from __future__ import annotations

import pytest

from potstill.errors import RecipeError
from potstill.recipe import dump, load

STUDENTS = [{"name": "ngram", "kind": "ngram"}]
TEACHER = {"kind": "endpoint", "url": "http://127.0.0.1:8000/v1", "model": "smollm2", "output_license": "mit"}


@pytest.fixture
def recipe(folder, base, write):
    (folder / "prompt.txt").write_text("{{text}}")

    def loaded(**change):
        return load(write({**base, "students": STUDENTS, "teacher": {**TEACHER, **change}}))

    return loaded


def test_the_least_that_it_takes(recipe):
    teacher = recipe().teacher
    assert (teacher.concurrency, teacher.scoring, teacher.api, teacher.paid) == (4, "first_token", "chat", False)


def test_a_prompt_is_a_file_beside_the_recipe(recipe, folder):
    assert recipe(prompt={"file": "prompt.txt"}).teacher.prompt.file == str(folder / "prompt.txt")
    with pytest.raises(RecipeError, match=r"there is no file 'promt.txt'(?s:.*)did you mean 'prompt.txt'"):
        recipe(prompt={"file": "promt.txt"})


@pytest.mark.parametrize("url", ["https://api.example.com/v1", "http://localhost:1/v1", "http://[::1]:80/v1", "https://api.example.com:8443/openai/v1/"])
def test_places_that_may_be_asked(recipe, url):
    assert recipe(url=url).teacher.url == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://api.example.com/v1", "over http anybody"),
        ("https://10.0.0.5/v1", "inside a network"),
        ("https://169.254.169.254/latest", "inside a network"),
        ("http://vllm:8000/v1", "inside a network"),
        ("https://models.corp.internal/v1", "inside a network"),
        ("api.example.com", "no address"),
        ("ftp://api.example.com", "no address"),
        ("https://me:secret@api.example.com/v1", "holds a user or a password"),
        ("https://api.example.com/v1?key=secret", "part after"),
        ("http://127.0.0.1:99999/v1", "no address"),
    ],
)
def test_places_that_may_not(recipe, url, words):
    with pytest.raises(RecipeError, match=words) as caught:
        recipe(url=url)
    assert "secret" not in str(caught.value)


def test_a_private_host_that_is_named_may(recipe):
    assert recipe(url="http://vllm:8000/v1", private_hosts=["vllm"]).teacher.host == "vllm"


@pytest.mark.parametrize("key", ["sk-abcdef", "env:", "env:a b", 12345, ["sk-abcdef"], {"a": "sk-abcdef"}])
def test_a_key_that_is_written_is_refused_and_not_shown(recipe, key):
    with pytest.raises(RecipeError, match="named, never written") as caught:
        recipe(api_key=key)
    assert "abcdef" not in str(caught.value)
    assert "12345" not in str(caught.value)


def test_a_key_stays_a_name(recipe, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    made = recipe(api_key="env:MY_KEY")
    assert made.teacher.api_key == "env:MY_KEY"
    assert "sk-secret" not in dump(made)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scoring": "echo"}, "which a chat has not"),
        ({"samples": 5}, "'samples' is of answers that are written"),
        ({"scoring": "text", "samples": 5}, "at temperature 0 are one sample"),
        ({"scoring": "text", "top_k": 5}, "'top_k' is of first tokens"),
        ({"scoring": "text", "calibration": "content_free"}, "no probabilities to calibrate"),
        ({"prompt": {"text": "a", "file": "prompt.txt"}}, "both given"),
        ({"prompt": {"variables": {"text": "a"}}}, "filled in by potstill"),
        ({"output_license": "disallowed"}, "don't allow"),
        ({"concurency": 3}, "did you mean 'concurrency'"),
        ({"url": None}, "must be text"),
    ],
)
def test_what_does_not_fit_is_said(recipe, change, words):
    with pytest.raises(RecipeError, match=words):
        recipe(**change)


def test_students_can_not_start_from_it_and_any_number_of_labels_can_not_be_asked(folder, base, write):
    with pytest.raises(RecipeError, match="can't start from a teacher of kind endpoint"):
        load(write({**base, "teacher": TEACHER}))
    with pytest.raises(RecipeError, match="can't tell any number of labels"):
        load(write({**base, "students": STUDENTS, "teacher": TEACHER, "data": {"train": "train.jsonl", "columns": {"labels": "tags"}}}))

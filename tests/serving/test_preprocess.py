"""Fields to arrays: the fast way is the plain way, for any text at all; bad fields and files are named."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from potstill.errors import BundleError, DataError
from potstill.serving import hashing, preprocess
from tests import tiny

HASH = {
    "kind": "hash", "buckets": 4096, "word_ngrams": [1, 2], "char_ngrams": [3, 5], "char_weight": 0.5, "max_characters": 4096, "lowercase": True,
    "fields": ["text"], "version": 2,
}  # fmt: skip
SPECS = [
    HASH,
    {**HASH, "char_ngrams": None},
    {**HASH, "word_ngrams": [1, 3], "max_characters": 9},
    {**HASH, "word_ngrams": [2, 2], "char_ngrams": [1, 2]},
]
SPECS += [{**HASH, "lowercase": False, "buckets": 3}]
any_text = st.text(st.characters() | st.characters(categories=("Cs",)) | st.sampled_from(" \n.,aA1Σß_日\u3000")) | st.text("ab c", max_size=60)


# ------------------------------------------------------------------------------------------------------------- hashes
@settings(max_examples=150, deadline=None)
@given(st.lists(any_text, max_size=6), st.sampled_from(SPECS))
@example(["", "ΑΣ", "Σ", "İI", "a\0b", "<#>", "\ud83d", "\U0001f600!", "_", "\xb5g"], HASH)
def test_hashing_a_batch_is_the_reference_on_each_text(texts, spec):
    for text, (ids, weights) in zip(texts, hashing.encode(texts, spec), strict=True):
        expected = hashing.reference(text, spec)
        assert ids.tolist() == expected[0]
        np.testing.assert_allclose(weights, expected[1], rtol=1e-6)


@settings(max_examples=150, deadline=None)
@given(st.lists(any_text, max_size=6), st.lists(any_text, max_size=6), st.sampled_from([spec for spec in SPECS if spec["char_ngrams"]]))
@example(["good film", "bad"], ["good", "film bad ones"], HASH)
def test_known_words_change_ids_and_no_sum(texts, seen, spec):
    words = list(dict.fromkeys(word for text in seen for word in hashing.words_of(text, spec)))
    known = hashing.Words.of(words)
    table = np.random.default_rng(0).normal(size=(spec["buckets"] + 1, 2))
    alone = {**spec, "word_ngrams": [1, 0], "lowercase": False}
    extra = np.zeros((len(known.hashes), 2))
    for slot, word in known.rows(words).items():
        extra[slot] = table[hashing.reference(word, alone)[0]].sum(0)
    both = np.concatenate([table, extra])
    for text, (ids, weights) in zip(texts, hashing.encode(texts, spec, known), strict=True):
        plain, plain_weights = hashing.reference(text, spec)
        np.testing.assert_allclose(weights @ both[ids], np.array(plain_weights) @ table[np.array(plain, int)], atol=1e-5)


def test_a_known_word_costs_one_id():
    known = hashing.Words.of(["excellent"])
    (plain, _), (short, _) = hashing.encode(["Excellent"], HASH)[0], hashing.encode(["Excellent"], HASH, known)[0]
    assert len(plain) == 1 + 9 + 8 + 7
    assert len(short) == 2
    assert short[0] == plain[0]
    assert short[1] > HASH["buckets"]


def test_long_texts_and_texts_across_chunks_are_hashed_alike():
    texts = ["word " * 3000, "x" * 3000, *(f"case {i} of {i * i}" for i in range(3000)), "A b" * 50_000]
    found = hashing.encode(texts, HASH)
    assert len(found) == len(texts)
    for i in [0, 1, 2, 1500, 3001]:
        assert found[i][0].tolist() == hashing.reference(texts[i], HASH)[0]
    assert len(found[-1][0]) == 1366 + 1365 + 1 + 3 * 1365  # 4,096 letters: "a", then "ba" all over: of two letters with its marks, three n-grams


def test_ids_are_fixed_for_ever():
    """Students in the field were trained with these ids: another rule needs another version."""
    spec = {**HASH, "buckets": 1 << 20, "char_ngrams": [3, 3]}
    assert hashing.reference("Müde, am Tag", spec)[0] == GOLDEN
    assert hashing.reference("Müde, am Tag", spec)[1] == [5**-0.5] * 5 + [0.5 / 3] * 9


GOLDEN = [333070, 341430, 796224, 867400, 404487, 1039945, 787049, 479196, 918136, 883662, 85138, 489204, 584867, 337625]


def test_ids_spread_evenly_over_buckets():
    ids = np.concatenate([ids for ids, _ in hashing.encode([f"term{i}" for i in range(20_000)], {**HASH, "char_ngrams": None, "buckets": 64})])
    counts = np.bincount(ids, minlength=65)
    assert counts[0] == 0
    assert counts[1:].min() > 200
    assert counts[1:].max() < 430  # mean 312, deviation 18


@pytest.mark.slow
def test_hashing_runs_at_numpy_speed():
    texts = [f"chronic disease of the left eye, case {i}" for i in range(20_000)]
    hashing.encode(texts[:10], HASH)
    began = time.perf_counter()
    hashing.encode(texts, HASH)
    assert len(texts) / (time.perf_counter() - began) > 20_000  # measured: 230,000 texts of 40 letters on a quiet core


def test_an_empty_text_is_padded_to_one_column():
    made = preprocess.build(HASH, None)
    items = made.encode([{"text": ""}, {"text": "..."}])
    assert [made.length(item) for item in items] == [0, 0]
    assert made.collate(items)["ids"].tolist() == [[0], [0]]
    assert made.collate([])["ids"].shape == (0, 1)


def test_a_newer_rule_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"(?s)version 3.*newer potstill"):
        preprocess.build({**HASH, "version": 3}, tmp_path)


def test_an_older_rule_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"(?s)version 1.*train the student again"):
        preprocess.build({**HASH, "version": 1}, tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"no array", np.zeros(4, np.int32)], ids=["missing", "empty", "no array", "another type"])
def test_a_table_of_words_that_can_t_be_read_is_named(tmp_path, content):
    if isinstance(content, np.ndarray):
        np.save(tmp_path / "words.npy", content)
    elif content is not None:
        (tmp_path / "words.npy").write_bytes(content)
    with pytest.raises(BundleError, match="table of words"):
        preprocess.build({**HASH, "words": "words.npy"}, tmp_path)


# ------------------------------------------------------------------------------------------------------------- tokens
@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.encoder(tmp_path_factory.mktemp("model"))


def tokens(**more):
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    return {
        "kind": "tokenizer",
        "file": "tokenizer.json",
        "max_length": 12,
        "fields": ["text"],
        "inputs": inputs,
        "pad": {"input_ids": 0},
        **more,
    }


PAIRS = [
    {"text": "good film", "text_pair": "the worst service"},
    {"text": "a " * 30, "text_pair": "b " * 30},
    {"text": "", "text_pair": ""},
]


@pytest.mark.parametrize("fields", [["text"], ["text", "text_pair"]])
def test_tokens_are_those_of_transformers(folder, fields):
    theirs = AutoTokenizer.from_pretrained(folder)
    columns = [[row[name] for row in PAIRS] for name in fields]
    expected = theirs(*columns, truncation=True, max_length=12, padding=True, return_tensors="np")
    made = preprocess.build(tokens(fields=fields), folder)
    found = made.collate(made.encode(PAIRS))
    assert tuple(found) == made.inputs
    for name in made.inputs:
        assert np.array_equal(found[name], expected[name]), name
        assert found[name].dtype == np.int64


def test_special_tokens_can_be_left_out_and_ids_dropped(folder):
    bare = preprocess.build(tokens(special_tokens=False, drop=[1], inputs=["input_ids", "attention_mask"]), folder)
    items = bare.encode([{"text": "good 日 film"}, {"text": ""}])
    words = [tiny.VOCABULARY[i] for i in items[0]["input_ids"]]
    assert words == ["good", "film"]
    assert items[0]["attention_mask"].tolist() == [1, 1]
    assert bare.collate(items)["attention_mask"].tolist() == [[1, 1], [0, 0]]


def test_padding_takes_the_values_of_the_spec(folder):
    made = preprocess.build(tokens(pad={"input_ids": 7}), folder)
    found = made.collate(made.encode([{"text": "good film"}, {"text": "a"}]))
    assert found["input_ids"][1, -1] == 7
    assert found["attention_mask"][1, -1] == 0


def test_half_a_surrogate_pair_is_read_as_a_replacement(folder):
    made = preprocess.build(tokens(), folder)
    assert np.array_equal(made.encode([{"text": "a \ud83d"}])[0]["input_ids"], made.encode([{"text": "a \ufffd"}])[0]["input_ids"])


@pytest.mark.parametrize(("row", "words"), [({"txt": "a"}, "is missing"), ({"text": None}, "is missing"), ({"text": ["a"]}, "is list")])
@pytest.mark.parametrize("spec", [HASH, tokens()], ids=["hash", "tokenizer"])
def test_a_field_that_is_no_text_is_named(folder, spec, row, words):
    with pytest.raises(DataError, match=f"'text' {words}"):
        preprocess.build(spec, folder).encode([row])


def test_a_missing_or_broken_tokenizer_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        preprocess.build(tokens(), tmp_path)
    for broken in ("{", json.dumps({"version": "1.0"})):
        (tmp_path / "tokenizer.json").write_text(broken)
        with pytest.raises(BundleError, match=r"tokenizer\.json"):
            preprocess.build(tokens(), tmp_path)


def test_an_unknown_kind_and_a_missing_key_are_named(tmp_path):
    with pytest.raises(BundleError, match="did you mean 'hash'"):
        preprocess.build({"kind": "hush"}, tmp_path)
    with pytest.raises(BundleError, match="'version'"):
        preprocess.build({"kind": "hash"}, tmp_path)

"""A trimmed vocabulary cuts the texts that it was trimmed for as before, and no text into something unknown."""

from __future__ import annotations

import json
import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from potstill.errors import UserError
from potstill.students import vocabulary
from potstill.students.vocabulary import limited, trim, trimmed
from tests.tiny import WORDS, encoder

CORPUS = [" ".join(random.Random(seed).choices(WORDS, k=8)) for seed in range(300)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def wordpiece():
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=250, special_tokens=SPECIAL))
    ends = [("[SEP]", made.token_to_id("[SEP]")), ("[CLS]", made.token_to_id("[CLS]"))]
    made.post_processor = processors.BertProcessing(*ends)
    return made


def bpe():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=500, special_tokens=["<pad>", "<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    )
    made.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", made.token_to_id("<end>"))])
    return made


def unigram():
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=200, special_tokens=["<unk>", "<pad>"], unk_token="<unk>"))
    return made


MADE = {"wordpiece": wordpiece(), "bpe": bpe(), "unigram": unigram()}


@pytest.mark.parametrize("kind", MADE)
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join), min_size=1, max_size=6))
def test_the_texts_that_it_was_trimmed_for_are_cut_as_before(kind, texts):
    whole = MADE[kind]
    before = whole.encode_batch(texts)
    made, kept = trimmed(json.loads(whole.to_str()), {id for one in before for id in one.ids})
    small = Tokenizer.from_str(json.dumps(made))
    for old, new in zip(before, small.encode_batch(texts)):
        assert new.tokens == old.tokens
        assert [kept[id] for id in new.ids] == old.ids
    assert sorted(small.get_vocab(with_added_tokens=True).values()) == list(range(len(kept)))  # no gaps


@pytest.mark.parametrize("kind", MADE)
def test_other_words_fall_apart_and_lose_nothing(kind):
    whole = MADE[kind]
    made, kept = trimmed(json.loads(whole.to_str()), set(whole.encode(WORDS[0]).ids))
    small = Tokenizer.from_str(json.dumps(made))
    assert len(kept) < 0.7 * whole.get_vocab_size()
    for word in WORDS[1:20]:
        letters = "".join(token.removeprefix("##") for token in small.encode(word, add_special_tokens=False).tokens).strip("▁")
        assert letters == word


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("over", [0, 7, 40, 10_000])
def test_at_most_so_many_tokens_are_kept_the_commonest_first(kind, over):
    whole = json.loads(MADE[kind].to_str())
    least = len(trimmed(whole, ())[1])
    used = Counter(id for one in MADE[kind].encode_batch(CORPUS) for id in set(one.ids))
    commonest = sorted(used, key=lambda id: (-used[id], id))
    made, kept = limited(whole, commonest, least + over)
    assert len(kept) <= least + over
    if over == 10_000:
        assert kept == trimmed(whole, used)[1]  # there is room for all
    else:
        few = sum(1 for n in range(len(commonest)) if len(trimmed(whole, commonest[: n + 1])[1]) <= least + over)
        assert kept == trimmed(whole, commonest[:few])[1]  # one more of them would be too many
    letters = "".join(token.removeprefix("##") for token in Tokenizer.from_str(json.dumps(made)).encode(WORDS[0], add_special_tokens=False).tokens)
    assert letters.strip("▁") == WORDS[0]


def test_a_limit_below_its_characters_is_refused():
    with pytest.raises(UserError, match="vocabulary 3 is too small: characters and added tokens alone are"):
        limited(json.loads(MADE["bpe"].to_str()), [], 3)


def test_a_folder_with_a_limit_answers_as_before_where_all_tokens_are_kept(tmp_path):
    rows = [{"text": "good pain"}] * 3 + [{"text": text} for text in CORPUS[:3]]
    source = encoder(tmp_path / "model")
    all_used = trim(source, tmp_path / "used", rows, ("text",))["after"]
    found = trim(source, tmp_path / "small", rows, ("text",), at_most=all_used - 2)
    assert found["after"] <= all_used - 2
    ways = [AutoTokenizer.from_pretrained(folder).tokenize("good pain") for folder in (source, tmp_path / "small")]
    assert ways[0] == ways[1]


def test_what_can_t_be_trimmed_is_refused():
    with pytest.raises(UserError, match="WordLevel can't be trimmed"):
        trimmed({"model": {"type": "WordLevel", "vocab": {"a": 0}}}, {0})


def test_a_text_that_would_be_cut_otherwise_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(vocabulary.KINDS, "WordPiece", lambda model, used: vocabulary._wordpiece(model, set()))
    with pytest.raises(UserError, match="cuts 'good"):
        trim(encoder(tmp_path / "model"), tmp_path / "small", [{"text": "good pain"}], ("text",))


def test_the_folder_is_plain_and_answers_as_before(tmp_path):
    source = encoder(tmp_path / "model")
    rows = [{"text": text} for text in CORPUS[:3]]
    found = trim(source, tmp_path / "small", rows, ("text",))
    assert found["after"] < found["before"]
    said = []
    for folder in (source, tmp_path / "small"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        assert model.config.vocab_size == (found["after"] if folder.name == "small" else found["before"])
        assert tokenizer.pad_token_id == tokenizer.convert_tokens_to_ids(tokenizer.pad_token)
        with torch.inference_mode():
            said.append(model.base_model(**tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")).last_hidden_state.numpy())
    np.testing.assert_array_equal(*said)

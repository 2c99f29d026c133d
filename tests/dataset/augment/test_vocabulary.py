"""Which tokens are whole words, and where words are in a text, for three kinds of tokenizer."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from potstill.dataset.augment.vocabulary import Vocabulary
from tests.tiny import encoder

TEXTS = ["The cat sat on the mat", "a dog and the cat ran", "Dogs run, cats sit", "the mat ran on"] * 8


def byte_level():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)  # the space before a word counts as its own: GPT-2's way
    made.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<pad>", "<mask>"])
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", mask_token="<mask>")


def metaspace():
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.normalizer, made.pre_tokenizer, made.decoder = normalizers.NFKC(), pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>", "<pad>", "<mask>"]))
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", mask_token="<mask>", unk_token="<unk>")


@pytest.fixture(params=["wordpiece", "byte-level", "metaspace"])
def vocabulary(request, tmp_path):
    made = {"wordpiece": lambda: AutoTokenizer.from_pretrained(encoder(tmp_path / "m")), "byte-level": byte_level, "metaspace": metaspace}
    return Vocabulary(made[request.param](), multi_piece=False)


def test_a_whole_word_is_one_token_and_comes_back_as_it_was(vocabulary):
    assert len(vocabulary.words) > 3
    assert {"cat", "the"} & {word.lower() for word in vocabulary.words.values()}
    assert all(word.isalpha() and len(word) > 1 for word in vocabulary.words.values())
    tokenizer = vocabulary._tokenizer
    for id, word in vocabulary.words.items():
        assert [id] in [tokenizer.encode(before + word, add_special_tokens=False).ids for before in (" ", "")]
    pieces = {token for token in tokenizer.get_vocab() if token.startswith("##")}
    assert not {tokenizer.token_to_id(piece) for piece in pieces} & set(vocabulary.words)


def test_the_characters_of_a_word_are_found_in_the_text_as_it_is_written(vocabulary):
    text = "  The CAT  ran,\ton the mat; don't  "
    read = vocabulary.read([text])[0]
    written = [read.written(place) for place in range(len(read.words))]
    assert written
    assert all(word.isalpha() for word in written)
    assert set(written) <= {"The", "CAT", "ran", "on", "the", "mat"}
    assert "the" in written
    for word in read.words:
        assert len(word.at) == 1
        assert read.ids[word.at[0]] == word.ids[0]


def test_a_text_is_read_up_to_the_longest_and_a_word_that_may_be_cut_is_left(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(encoder(tmp_path / "m"))
    for text, longest, words in (
        ("the cat was good and bad", 5, ["the", "cat"]),
        ("the cat zebra", 6, ["the", "cat"]),
        ("the cat was", 5, ["the", "cat", "was"]),
    ):
        read = Vocabulary(tokenizer, multi_piece=True, longest=longest).read([text])[0]
        assert len(read.ids) == longest
        assert [read.written(place) for place in range(len(read.words))] == words


def test_words_of_several_pieces_are_left_or_taken_whole(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(encoder(tmp_path / "m"))
    text = "the zebra was good"
    few, all_words = (Vocabulary(tokenizer, multi_piece=mean).read([text])[0] for mean in (False, True))
    assert [few.written(place) for place in range(len(few.words))] == ["the", "was", "good"]
    assert [all_words.written(place) for place in range(len(all_words.words))] == ["the", "zebra", "was", "good"]
    assert len(all_words.words[1].ids) == 5


def test_no_texts_are_no_trouble(vocabulary):
    assert vocabulary.read([]) == []
    assert vocabulary.read([""])[0].words == []


def test_an_unknown_word_is_left(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(encoder(tmp_path / "m"))
    read = Vocabulary(tokenizer, multi_piece=True).read(["the 日本 cat"])[0]
    assert [read.written(place) for place in range(len(read.words))] == ["the", "cat"]


def test_half_a_character_is_no_trouble(vocabulary):
    read = vocabulary.read(["\ud800 the cat \udfff"])[0]
    assert read.text == "\ud800 the cat \udfff"
    assert {read.written(place) for place in range(len(read.words))} <= {"the", "cat"}

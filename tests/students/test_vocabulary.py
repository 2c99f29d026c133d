"""A trimmed tokenizer gives texts of kept tokens the tokens that the whole one gives them, and no text becomes unknown that was not."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from potstill.errors import UserError
from potstill.records import Example, Head
from potstill.students import build
from potstill.students.vocabulary import trim, used
from tests import tiny

HEAD = Head("classes", ("a", "b", "c"))
CORPUS = [" ".join(random.Random(seed).choices([*tiny.WORDS, "worsened", "bloodiest", "goodness", "überall"], k=9)) for seed in range(200)]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


def wordpiece():
    from transformers import BertTokenizerFast

    vocabulary = [*tiny.VOCABULARY, "##ness", "##est", "##sened", "wor", "goodn"]
    return BertTokenizerFast(vocab={piece: i for i, piece in enumerate(vocabulary)}).backend_tokenizer


def bpe(suffix=None):
    made = Tokenizer(models.BPE(unk_token="<unk>", **({"end_of_word_suffix": suffix} if suffix else {})))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=220, special_tokens=SPECIAL, show_progress=False, **({"end_of_word_suffix": suffix} if suffix else {}))
    )
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    return made


def byte_level():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    made.post_processor = processors.Sequence(
        [processors.ByteLevel(), processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B", [("<s>", 1), ("</s>", 2)])]
    )
    made.enable_padding(pad_id=0, pad_token="<pad>")
    return made


def unigram():
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=240, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False))
    made.add_special_tokens(["<mask>"])
    made.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    return made


MADE = {"wordpiece": wordpiece, "bpe": bpe, "bpe with suffix": lambda: bpe("</w>"), "byte level": byte_level, "unigram": unigram}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("seed", range(8))
def test_texts_of_kept_tokens_keep_their_tokens(kind, seed):
    whole = MADE[kind]()
    texts = random.Random(seed).sample(CORPUS, 1 + 3 * seed)
    document, kept = trim(json.loads(whole.to_str()), {i for text in texts for i in whole.encode(text).ids})
    small = Tokenizer.from_str(json.dumps(document))
    assert len(kept) == small.get_vocab_size() < whole.get_vocab_size()
    held = set(kept)
    for text in [*CORPUS, *texts, "?", ""]:
        ids = whole.encode(text).ids
        if held.issuperset(ids):  # also texts that no one chose, but whose tokens happen to be kept
            assert [kept[i] for i in small.encode(text).ids] == ids, text
            assert small.encode(text, add_special_tokens=False).tokens == whole.encode(text, add_special_tokens=False).tokens
    assert all(set(whole.encode(text).ids) <= held for text in texts)


@pytest.mark.parametrize("kind", MADE)
def test_unseen_words_fall_apart(kind):
    whole = MADE[kind]()
    document, _ = trim(json.loads(whole.to_str()), whole.encode("the good film").ids)
    tokens = Tokenizer.from_str(json.dumps(document)).encode("worsened house", add_special_tokens=False).tokens
    assert not {"<unk>", "[UNK]"} & set(tokens)
    assert len(tokens) > 8


def test_keeping_everything_changes_nothing_but_gaps():
    whole = bpe()
    document, kept = trim(json.loads(whole.to_str()), range(whole.get_vocab_size()))
    assert kept == list(range(whole.get_vocab_size()))
    assert document == json.loads(whole.to_str())


def test_a_tokenizer_of_words_alone_is_refused():
    with pytest.raises(UserError, match="WordLevel can't be trimmed"):
        trim(json.loads(Tokenizer(models.WordLevel({"a": 0}, "a")).to_str()), [0])


def test_the_most_frequent_are_counted_in_all_fields():
    rows = [Example(str(i), {"text": text, "text_pair": "film"}) for i, text in enumerate(["good good film", "bad \ud800"])]
    whole = wordpiece()
    assert whole.token_to_id("film") in used(whole, rows, ("text", "text_pair"), 4)
    assert whole.token_to_id("bad") not in used(whole, rows, ("text", "text_pair"), 4)
    assert whole.token_to_id("bad") in used(whole, rows, ("text",))


# ------------------------------------------------------------------------------------------------------------ in a student
ROWS = [Example(str(i), {"text": text}) for i, text in enumerate(CORPUS[:3])]


def made(source, vocabulary, **more):
    spec = SimpleNamespace(kind="transformer", layers=2, max_length=None, vocabulary=vocabulary, **more)
    return build.build(spec, HEAD, source=source, fields=("text",), seed=0, max_length=32, rows=ROWS)


def logits(student, texts):
    arrays = student.preprocess.collate(student.preprocess.encode([{"text": text} for text in texts]))
    student.module.eval()
    with torch.inference_mode():
        return student.forward({name: torch.from_numpy(array) for name, array in arrays.items()}).logits.numpy()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.encoder(tmp_path_factory.mktemp("vocabulary") / "model")


def test_a_trimmed_student_answers_as_the_whole_one_bit_for_bit(source, tmp_path):
    whole, small = made(source, "all"), made(source, "used")
    texts = [row.fields["text"] for row in ROWS]
    assert np.array_equal(logits(whole, texts), logits(small, texts))
    assert small.parameters < whole.parameters
    assert small.module.config.vocab_size == small.module.get_input_embeddings().weight.shape[0] < len(tiny.VOCABULARY)
    lengths = [[student.preprocess.length(item) for item in student.preprocess.encode([{"text": t} for t in texts])] for student in (whole, small)]
    assert lengths[0] == lengths[1]
    small.save(tmp_path / "s")
    again = build.load(tmp_path / "s")
    assert np.array_equal(logits(again, [*texts, "zebra"]), logits(small, [*texts, "zebra"]))
    theirs, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "s", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "s")
    for text in [*texts, "zebra 12!"]:
        assert tokenizer(text)["input_ids"] == small.preprocess.encode([{"text": text}])[0]["input_ids"].tolist()
    with torch.inference_mode():
        given = theirs.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(given, logits(small, texts), atol=1e-5)


def test_a_number_keeps_the_most_frequent(source):
    assert made(source, 5).module.config.vocab_size < made(source, "used").module.config.vocab_size

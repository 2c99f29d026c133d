"""The preprocessing of conversations: what a batch holds, and that it is found again from its spec."""

from __future__ import annotations

import json

import numpy as np
import pytest
from transformers import AutoTokenizer

from potstill.errors import UserError
from potstill.serving.preprocess import build
from potstill.serving.turns import IGNORED, NEXT, Turns, learnt, spec_of
from tests import tiny

from .test_rendering import CHATML, FORGETS

ROWS = [
    {"messages": [{"role": "user", "content": "sun bread"}, {"role": "assistant", "content": "mud"}]},
    {"prompt": "sun sun", "completion": " mud"},
    {"text": "sun bread mud " * 5},
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return AutoTokenizer.from_pretrained(tiny.decoder(tmp_path_factory.mktemp("decoder")))


def turns(tokenizer, **more):
    spec = spec_of(tokenizer, **{"max_length": 12, "template": CHATML, **more})
    return Turns.make(json.loads(json.dumps(spec)), tokenizer.backend_tokenizer)


def test_each_learnt_token_is_foretold_once_where_the_one_before_it_stands(tokenizer):
    made = turns(tokenizer, max_length=64)
    items = made.encode(ROWS)
    batch = made.collate(items)
    ids, ahead = batch["input_ids"], batch[NEXT]
    assert ahead.shape == ids.shape == batch["attention_mask"].shape
    for line in range(len(ids)):
        for place in np.flatnonzero(ahead[line] != IGNORED):
            assert ids[line, place + 1] == ahead[line, place]
            assert batch["attention_mask"][line, place + 1]
    told = [item["input_ids"][item["learnt"] > 0] for item in items]
    assert (ahead[ahead != IGNORED] == np.concatenate(told)).all()
    assert sum(map(learnt, items)) == (ahead != IGNORED).sum() > 0


def test_a_long_text_is_several_lines_of_one_item(tokenizer):
    made = turns(tokenizer)
    (item,) = made.encode(ROWS[2:])
    batch = made.collate([item])
    assert len(batch["input_ids"]) == item["window"].max() + 1 > 1
    whole = [*tokenizer(ROWS[2]["text"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    told = batch[NEXT][batch[NEXT] != IGNORED].tolist()
    assert told == (whole if item["input_ids"][0] == made.renderer.begin else whole[1:])


def test_the_same_preprocessing_is_built_from_what_was_saved(tokenizer, tmp_path):
    made = turns(tokenizer)
    (tmp_path / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str(), "utf-8")
    again = build(spec_of(tokenizer, max_length=12, template=CHATML), tmp_path)
    for left, right in zip(made.encode(ROWS), again.encode(ROWS)):
        assert all((left[name] == right[name]).all() for name in left)


def test_an_answer_stops_where_the_template_ends_one(tokenizer):
    end = tokenizer.convert_tokens_to_ids("<|im_end|>") if "<|im_end|>" in tokenizer.get_vocab() else None
    stops = turns(tokenizer).stops
    assert tokenizer.eos_token_id in stops
    assert end is None or end in stops


def test_a_question_too_long_keeps_its_latest_tokens(tokenizer):
    made = turns(tokenizer)
    long = made.question({"prompt": "sun bread mud " * 9})
    assert len(long) == 12
    assert (long == turns(tokenizer, max_length=1000).question({"prompt": "sun bread mud " * 9})[-12:]).all()


def test_a_tokenizer_without_an_end_is_refused(tokenizer):
    class Endless:
        eos_token_id, name_or_path = None, "folder"

    with pytest.raises(UserError, match="no end token"):
        spec_of(Endless(), max_length=8)


def test_options_of_the_template_are_part_of_the_spec(tokenizer):
    spec = spec_of(tokenizer, max_length=8, template=FORGETS, options={"enable_thinking": False})
    assert spec["options"] == {"enable_thinking": False}
    assert spec["template"] == FORGETS

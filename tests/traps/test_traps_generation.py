"""Traps 20, 21 and 28 where texts are generated: an answer's end, prompts that are too long, rows that share a pack."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from potstill.serving.conversation import conversation
from potstill.serving.rendering import Renderer
from potstill.training.packing import packed, plan
from tests import tiny

CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORMS = {
    "chat": {"messages": [{"role": "user", "content": "red dog " * 30}, {"role": "assistant", "content": "blue cat"}]},
    "completion": {"prompt": "red dog " * 30, "completion": "blue cat"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def rendered(tokenizer, form, size):
    return Renderer(tokenizer.backend_tokenizer, end=tokenizer.eos_token_id, template=CHAT).rows(conversation(FORMS[form]), size)


@pytest.mark.parametrize("form", FORMS)
def test_trap_20_the_end_is_learnt_where_padding_looks_like_it(tokenizer, form):
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    (row,) = rendered(tokenizer, form, 1000)
    given = packed([(row.ids, row.learnt), (row.ids[:9], row.learnt[:9])], [[0], [1]], pad=tokenizer.pad_token_id)
    labels = given.labels[0][given.labels[0] != -100]
    assert labels[-1] == tokenizer.eos_token_id
    assert (given.labels[1][9:] == -100).all()  # and padding is not


@pytest.mark.parametrize("form", FORMS)
def test_trap_21_a_long_prompt_does_not_eat_the_answer_nor_is_it_learnt(tokenizer, form):
    whole = rendered(tokenizer, form, 1000)[0]
    row = rendered(tokenizer, form, 40)[0]
    assert len(row.ids) == 40
    for one in (whole, row):
        assert tokenizer.decode(one.ids[one.learnt]) == "blue cat<|im_end|>"
    assert row.cut == len(whole.ids) - 40
    assert row.lost == 0


def test_trap_28_rows_that_share_a_pack_do_not_see_each_other(folder):
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    rng = np.random.default_rng(0)
    rows = [(rng.integers(3, model.config.vocab_size, n).astype(np.int32), np.full(n, True)) for n in (12, 7, 9)]
    given = packed(rows, plan([12, 7, 9], 64).packs, pad=2)
    assert given.ids.shape[0] == 1
    with torch.no_grad():
        logits = model(input_ids=given.ids, position_ids=given.positions, attention_mask=given.mask).logits[0]
        for n, (ids, _) in enumerate(rows):
            alone = model(input_ids=torch.from_numpy(ids[None].astype(np.int64))).logits[0]
            torch.testing.assert_close(logits[given.rows[0] == n], alone, atol=1e-4, rtol=1e-4)
            assert given.positions[0][given.rows[0] == n].tolist() == list(range(len(ids)))  # rotary ones are relative: no logit would tell
    assert int((given.labels != -100).sum()) == 12 + 7 + 9 - 3  # the first of each row is foretold by nothing

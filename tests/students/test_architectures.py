"""Which layers are kept, and how their names move."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForSequenceClassification

from potstill.errors import UserError
from potstill.students.architectures import ARCHITECTURES, architecture, choose, renamed

SMALL = {
    "vocab_size": 20, "hidden_size": 8, "dim": 8, "num_attention_heads": 2, "n_heads": 2, "intermediate_size": 8, "hidden_dim": 8,
    "max_position_embeddings": 16, "embedding_size": 8, "n_layers": 3, "num_key_value_heads": 1, "head_dim": 4, "pad_token_id": 1,
}  # fmt: skip


@pytest.mark.parametrize(("layers", "of", "kept"), [(3, 6, (0, 2, 5)), (6, 12, (0, 2, 4, 7, 9, 11)), (1, 6, (0,)), (2, 6, (0, 5)), (4, 4, (0, 1, 2, 3))])
def test_a_number_spreads_layers_from_the_first_to_the_last(layers, of, kept):
    assert choose(layers, of) == kept


@given(st.integers(1, 40).flatmap(lambda of: st.tuples(st.integers(1, of), st.just(of))))
def test_every_number_gives_as_many_different_layers(pair):
    kept = choose(*pair)
    assert len(set(kept)) == pair[0]
    assert list(kept) == sorted(kept)
    assert kept[0] == 0
    assert pair[0] == 1 or kept[-1] == pair[1] - 1


@pytest.mark.parametrize("layers", [0, 7, [], [0, 6], [2, 1], [1, 1], [-1]])
def test_layers_that_are_not_there_are_refused(layers):
    with pytest.raises(UserError, match="0 to 5"):
        choose(layers, 6)


def test_an_unknown_architecture_names_the_known():
    with pytest.raises(UserError, match="did you mean 'bert'"):
        architecture("berd")


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_the_table_holds_for_the_real_model_and_renames_back(model_type):
    row = ARCHITECTURES[model_type]
    config = AutoConfig.for_model(model_type)
    for name, value in {**SMALL, row.count: 3}.items():
        if name in config.to_dict() or name in config.attribute_map:
            setattr(config, name, value)
    with torch.device("meta"):
        names = list(AutoModelForSequenceClassification.from_config(config).state_dict())
    kept = {0: 0, 1: 2}
    back = {old: new for new, old in kept.items()}
    inside = [name for name in names if renamed(name, row.layer, {}) is None]
    assert {name.removeprefix(row.layer.split("{}")[0]).split(".")[0] for name in inside} == {"0", "1", "2"}
    assert f"{row.classifier}.weight" in names
    assert all(any(name.startswith(f"{top}.") for name in names) for top in row.top)
    for name in names:
        moved = renamed(name, row.layer, kept)
        assert moved is None or (moved in names and renamed(moved, row.layer, back) == name)

"""What a recipe of students that write may say, and what it says where it is silent."""

from __future__ import annotations

import pytest

from potstill.recipe.load import load
from potstill.recipe.students import reads_rows


@pytest.fixture
def writing(base):
    return base | {"task": "text-generation", "students": [{"name": "half", "kind": "transformer", "layers": 3}]}


def test_texts_are_learnt_by_their_tokens_where_nothing_is_said(write, writing):
    recipe = load(write(writing))
    assert [term.model_dump(exclude_none=True) for term in recipe.objectives_of(recipe.students[0])] == [
        {"kind": "tokens", "weight": 1.0, "hard": 0.0, "divergence": "forward_kl", "kd_temperature": 1.0}
    ]


def test_what_is_not_said_of_a_student_that_writes_is_not_written_down(write, writing):
    recipe = load(write(writing))
    assert not {"choose", "lora", "checkpointing"} & recipe.students[0].model_dump().keys()
    assert "pack" not in recipe.training.model_dump()
    assert not reads_rows(recipe.students[0])


def test_its_options(write, writing):
    writing["students"][0] |= {"choose": "importance", "lora": {"rank": 8}, "checkpointing": True, "heads": 2}
    writing |= {"training": {"pack": True}, "objectives": [{"kind": "tokens", "hard": 0.5, "divergence": "jsd", "beta": 0.3}]}
    recipe = load(write(writing))
    (student,) = recipe.students
    assert (student.choose, student.lora.rank, student.lora.alpha, student.checkpointing) == ("importance", 8, 32.0, True)
    assert student.model_dump(mode="json")["lora"] == {"rank": 8, "alpha": 32.0}
    assert recipe.training.pack
    assert recipe.objectives[0].beta == 0.3
    assert reads_rows(student)


def test_terms_of_classifiers_are_refused(write, writing):
    with pytest.raises(Exception, match="text-generation does not learn by 'logits'"):
        load(write(writing | {"objectives": [{"kind": "logits"}]}))

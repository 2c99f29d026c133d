"""The sections of students that write: what they may say, and what they say where they are silent."""

from __future__ import annotations

from potstill.recipe.objectives import DEFAULT_OF_TOKENS, Tokens
from potstill.recipe.students import TransformerStudent, reads_rows
from potstill.recipe.training import Training


def test_texts_are_learnt_by_what_the_teacher_says_of_tokens():
    assert [term.model_dump(exclude_none=True) for term in DEFAULT_OF_TOKENS] == [
        {"kind": "tokens", "weight": 1.0, "hard": 0.0, "divergence": "forward_kl", "kd_temperature": 1.0}
    ]


def test_what_is_not_said_of_a_student_that_writes_is_not_written_down():
    student = TransformerStudent(name="half", layers=3)
    assert not {"choose", "lora", "checkpointing"} & student.model_dump().keys()
    assert "pack" not in Training().model_dump()
    assert not reads_rows(student)


def test_its_options_are_written_down():
    student = TransformerStudent(name="half", layers=3, choose="importance", lora={"rank": 8}, checkpointing=True)
    assert {name: student.model_dump(mode="json")[name] for name in ("choose", "lora", "checkpointing")} == {
        "choose": "importance", "lora": {"rank": 8, "alpha": 32.0}, "checkpointing": True
    }  # fmt: skip
    assert Training(pack=True).model_dump()["pack"]
    assert Tokens(divergence="jsd", beta=0.3, hard=0.5).beta == 0.3


def test_layers_that_are_chosen_by_rows_need_rows():
    assert reads_rows(TransformerStudent(name="a", layers=3, choose="importance"))
    assert not reads_rows(TransformerStudent(name="a", layers=3))

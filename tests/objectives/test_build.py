"""From a recipe's objectives to terms: names, needs, what is left out, what is refused, and the hidden states' projection."""

from __future__ import annotations

import pytest
import torch

from potstill.errors import UserError
from potstill.objectives.build import LOGPROBS, build
from potstill.objectives.hidden import Projection, uniform
from potstill.recipe.objectives import Hard, Hidden, Logits
from potstill.records import Want
from potstill.students.protocol import Output

HARD, LOGITS, HIDDEN = ({"kind": kind, "weight": weight} for kind, weight in (("hard", 0.5), ("logits", 1.0), ("hidden", 2.0)))


def made(*specs, **more):
    sizes = {"head_width": 3, "student_layers": 2, "student_width": 4, "teacher_layers": 6, "teacher_width": 5, "seed": 0}
    return build(specs, **{**sizes, **more})


def test_terms_know_their_name_weight_and_needs():
    terms, left_out = made(LOGITS, HIDDEN, HARD)
    assert [(term.name, term.weight) for term in terms] == [("logits", 1.0), ("hidden", 2.0), ("hard", 0.5)]
    assert [term.needs for term in terms] == [
        frozenset({LOGPROBS}),
        frozenset({Want("hidden", layer=0), Want("hidden", layer=3), Want("hidden", layer=6)}),
        frozenset(),
    ]
    assert [term.hidden for term in terms] == [False, True, False]
    assert left_out == []


def test_the_recipe_s_own_words_are_understood():
    specs = [spec.model_dump(mode="json") for spec in (Logits(loss="mse"), Hidden(layers=[[6, 2]]), Hard())]
    terms, _ = made(*specs)
    assert terms[1].needs == {Want("hidden", layer=6)}
    assert terms[0].finite


def test_a_kind_that_comes_twice_is_numbered():
    assert [term.name for term in made(LOGITS, {**LOGITS, "loss": "mse"}, LOGITS)[0]] == ["logits", "logits.2", "logits.3"]


@pytest.mark.parametrize("none", [{"student_layers": 0}, {"teacher_layers": 0}])
def test_what_a_student_cannot_use_is_left_out_by_name(none):
    terms, left_out = made(LOGITS, HIDDEN, **none)
    assert [term.name for term in terms] == ["logits"]
    assert left_out == ["hidden"]


def test_a_student_left_without_a_teacher_of_classes_is_refused():
    with pytest.raises(UserError, match="can use none of its objectives: hidden"):
        made(HIDDEN, student_layers=0)
    with pytest.raises(UserError, match="never be taught its classes"):
        made(HIDDEN)


@pytest.mark.parametrize("pair", [[7, 1], [1, 3]])
def test_a_layer_that_is_not_there_is_named(pair):
    with pytest.raises(UserError, match=r"names a layer that is not there[\s\S]*0 to 6, the student 0 to 2"):
        made(LOGITS, {**HIDDEN, "layers": [pair]})


def test_answers_of_another_shape_are_refused():
    (term,), _ = made(LOGITS)
    for teacher, student in (((2, 4), (2, 3)), ((1, 3), (2, 3)), ((2, 4), (2, 4))):
        with pytest.raises(UserError, match="3 classes"):
            term(Output(torch.zeros(student)), {LOGPROBS: torch.zeros(teacher)}, torch.zeros(2))


def test_counts_from_data_are_the_counts_of_the_terms():
    terms, _ = made(LOGITS, HIDDEN, HARD)
    wants = {want for term in terms for want in term.needs}
    answers = {want: torch.randn(7, 5) if want.kind == "hidden" else torch.randn(3, 3) for want in wants}
    output, gold = Output(torch.randn(3, 3), tuple(torch.randn(7, 4) for _ in range(3))), torch.tensor([1, -1, 2])
    assert [term(output, answers, gold)[1].item() for term in terms] == [3, 7, 2]
    assert [term.count(answers, gold).item() for term in terms] == [3, 7, 2]


@pytest.mark.parametrize(
    ("student", "teacher", "pairs"),
    [(3, 6, [(0, 0), (2, 1), (4, 2), (6, 3)]), (1, 12, [(0, 0), (12, 1)]), (2, 2, [(0, 0), (1, 1), (2, 2)]), (4, 3, None)],
)
def test_uniform_spreads_the_student_s_layers(student, teacher, pairs):
    found = uniform(student, teacher)
    assert pairs is None or found == pairs
    assert found[0] == (0, 0)
    assert found[-1] == (teacher, student)
    assert sorted(found) == found


def test_projection_is_the_oracle_s_mean_over_width_and_layers():
    projection = Projection([(0, 0), (3, 2)], 4, 5, seed=0).double()
    student = [torch.randn(6, 4, dtype=torch.float64) for _ in range(3)]
    teacher = [torch.randn(6, 5, dtype=torch.float64) for _ in range(2)]
    total, count = projection(student, teacher)
    by_hand = [
        (((student[layer] @ linear.weight.T + linear.bias - target) ** 2).sum() / 5).item() for linear, layer, target in zip(projection.maps, (0, 2), teacher)
    ]
    assert total.item() == pytest.approx(sum(by_hand) / 2)
    assert count.item() == 6


def test_projection_is_seeded_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (Projection([(1, 1)], 4, 5, seed=seed).maps[0].weight for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_projection_between_equal_widths_begins_as_the_identity():
    states = [torch.randn(6, 4)]
    assert Projection([(0, 0)], 4, 4, seed=0)(states, states)[0].item() == 0


def test_projection_learns_in_float32_under_autocast():
    projection = Projection([(0, 0)], 4, 5, seed=0)
    student, teacher = [torch.randn(6, 4)], [torch.randn(6, 5)]
    plain = projection(student, teacher)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(projection(student, teacher)[0], plain)

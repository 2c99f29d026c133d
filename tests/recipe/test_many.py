"""Any number of labels in a recipe: one key says so; what goes with it and what does not. Recipes without it are what they were."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from potstill.errors import RecipeError
from potstill.recipe import dump, load
from potstill.recipe.data import Data
from potstill.recipe.objectives import Hard


@pytest.fixture
def write(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "train.jsonl").write_text('{"text": "a", "labels": ["x"]}\n')

    def made(columns="{labels: labels}", quality="{max_drop: 0.02}", more=""):
        path = tmp_path / "recipe.yaml"
        path.write_text(f"""
task: text-classification
name: many
data: {{train: train.jsonl, columns: {columns}}}
teacher: {{kind: model, model: model}}
students: [{{name: ngram, kind: ngram}}]
requirement: {{quality: {quality}}}
{more}
""")
        return path

    return made


def test_the_role_labels_is_the_one_key(write):
    recipe = load(write())
    assert recipe.many
    assert recipe.data.separator == "|"
    assert not load(write("{label: labels}", "{metric: accuracy, max_drop: 0.02}")).many


def test_the_usual_metric_is_micro_f1_and_every_other_is_kept(write):
    assert load(write()).requirement.quality.metric == "micro_f1"
    assert load(write(quality="{metric: macro_f1, max_drop: 0.02}")).requirement.quality.metric == "macro_f1"
    assert load(write("{label: labels}")).requirement.quality.metric == "accuracy"
    again = load(write())
    (write().parent / "again.yaml").write_text(dump(again))
    assert load(write().parent / "again.yaml") == again


@pytest.mark.parametrize(("columns", "metric"), [("{labels: labels}", "accuracy"), ("{labels: labels}", "mcc"), ("{label: labels}", "micro_f1")])
def test_a_metric_of_the_other_kind_is_refused(write, columns, metric):
    with pytest.raises(RecipeError, match=f"'{metric}' does not judge"):
        load(write(columns, f"{{metric: {metric}, max_drop: 0.02}}"))


def test_one_label_and_many_are_not_both_read(write):
    with pytest.raises(RecipeError, match="both `label` and `labels`"):
        load(write("{label: a, labels: labels}"))


def test_a_separator_without_labels_would_be_ignored():
    with pytest.raises(ValidationError, match="nothing is to be parted"):
        Data(train="a.csv", label_separator=",")
    assert Data(train="a.csv", columns={"labels": "tags"}, label_separator=", ").separator == ", "


def test_a_share_of_hamming_loss_means_nothing(write):
    with pytest.raises(RecipeError, match="hamming_loss has no share"):
        load(write(quality="{metric: hamming_loss, max_relative_drop: 0.02}"))


@pytest.mark.parametrize(("teacher", "words"), [
    ("{kind: callable, function: 'm:f', version: 1}", "a teacher of kind callable"), ("{kind: model, model: model, precision: auto}", "can't be asked in auto"),
])  # fmt: skip
def test_a_teacher_that_can_t_tell_many_labels_is_refused(write, teacher, words):
    path = write()
    path.write_text(path.read_text().replace("{kind: model, model: model}", teacher))
    with pytest.raises(RecipeError, match=words):
        load(path)


def test_trees_refuse_many_labels_and_weights(write):
    path = write()
    path.write_text(path.read_text().replace("{name: ngram, kind: ngram}", "{name: forest, kind: trees}"))
    with pytest.raises(RecipeError, match="can't learn any number of labels"):
        load(path)
    path = write("{label: labels}", "{metric: accuracy, max_drop: 0.02}", "objectives: [{kind: hard, class_weights: balanced}]")
    path.write_text(path.read_text().replace("{name: ngram, kind: ngram}", "{name: forest, kind: trees}"))
    with pytest.raises(RecipeError, match="can't weigh classes"):
        load(path)


def test_class_weights_are_a_word_or_a_weight_by_label():
    assert Hard(class_weights="balanced").class_weights == "balanced"
    assert Hard(class_weights={"spam": 3.0, 1: 2.0}).class_weights == {"spam": 3.0, "1": 2.0}
    for wrong in ("even", {"spam": 0.0}, {"spam": -1.0}):
        with pytest.raises(ValidationError):
            Hard(class_weights=wrong)


def test_options_left_alone_leave_no_trace():
    """What a fingerprint holds of a recipe without them is what it always was."""
    assert Hard().model_dump(mode="json") == {"kind": "hard", "weight": 1.0}
    assert Hard(class_weights="balanced").model_dump(mode="json")["class_weights"] == "balanced"
    assert "label_separator" not in Data(train="a", columns={"labels": "tags"}).model_dump(mode="json")

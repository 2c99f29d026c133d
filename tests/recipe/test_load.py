"""A recipe loads whole, or says at once all that is wrong with it: where, what, what to do."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from potstill.errors import RecipeError, UserError
from potstill.recipe import Recipe, dump, load


def problems(source, overrides=(), **options):
    with pytest.raises(RecipeError) as caught:
        load(source, overrides, **options)
    return list(caught.value.problems)


def one(source, overrides=(), **options):
    found = problems(source, overrides, **options)
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


def test_the_least_recipe_has_all_defaults(write, base, folder):
    recipe = load(write(base))
    assert recipe.data.train == str(folder / "train.jsonl")
    assert recipe.teacher.model == str(folder / "model")
    assert recipe.rounds.count == 1
    assert recipe.rounds.first == "all"
    assert [s.kind for s in recipe.students] == ["transformer", "static", "ngram"]
    assert [term.kind for term in recipe.objectives_of(recipe.students[0])] == ["logits", "hard"]
    assert recipe.export.precision == "int8"
    assert recipe.seeds == [0]
    assert recipe.threads is None


def test_the_recipe_of_the_contract_loads(write, folder):
    text = """
task: text-classification
name: support-intents
data:
  train: train.jsonl
  validation: dev.jsonl
  test: test.jsonl
  split: {validation: 0.1, calibration: 0.1, test: 0.2, seed: 0}
  unlabeled: pool.jsonl
  columns: {text: sentence, label: intent}
teacher:
  kind: model
  model: model
  output_license: apache-2.0
  adapt: {how: finetune, epochs: 2}
students:
  - {name: half,   kind: transformer, from: teacher, layers: 3}
  - {name: static, kind: static}
objectives:
  - {kind: logits, weight: 1.0, kd_temperature: 2.0}
  - {kind: hidden, weight: 1.0}
rounds: {count: 1, first: all, each: 1000, choose: uncertain}
requirement:
  quality: {metric: accuracy, max_drop: 0.02, confidence: 0.95}
  latency_p95_ms: 5
  speedup: 4
  size_mb: 25
  max_cost_usd: 20
export: {format: onnx, precision: int8}
engine: local
seeds: [0]
"""
    recipe = load(write(text))
    assert recipe.requirement.quality.max_drop == 0.02
    assert recipe.requirement.latency_p95_ms == 5
    assert recipe.students[0].source == "teacher"
    assert recipe.warnings() == []


def test_all_problems_come_at_once_each_with_its_line(write):
    text = """task: text-classification
name: tickets
data:
  train: tran.jsonl
  splitt: {test: 0.3}
teacher: {kind: model, model: model, max_length: 1.5}
students:
  - {name: a, kind: transformer, layers: 3}
  - {name: a, kind: ngram, layers: 3}
engine: ray
seeds: [1, 1]
"""
    found = {problem.place: problem for problem in problems(write(text))}
    assert set(found) == {
        "recipe.yaml:4 data.train", "recipe.yaml:5 data.splitt", "recipe.yaml:6 teacher.max_length", "recipe.yaml:9 students[1].layers",
        "recipe.yaml:9 students[1].name", "recipe.yaml:10 engine", "recipe.yaml:11 seeds",
    }  # fmt: skip
    assert found["recipe.yaml:4 data.train"].remedy == "did you mean 'train.jsonl'?"
    assert found["recipe.yaml:5 data.splitt"].remedy == "did you mean 'split'?"
    assert "1.5" in found["recipe.yaml:6 teacher.max_length"].message
    assert "students of kind transformer" in found["recipe.yaml:9 students[1].layers"].remedy
    assert "later version" in found["recipe.yaml:10 engine"].message
    assert "local" in found["recipe.yaml:10 engine"].remedy


@pytest.mark.parametrize(
    ("path", "value", "near"),
    [
        (("nmae",), 1, "name"),
        (("data", "trian"), "x", "train"),
        (("data", "split", "tst"), 0.1, "test"),
        (("data", "limit", "unlabelled"), 5, "unlabeled"),
        (("teacher", "adapt", "epoch"), 2, "epochs"),
        (("students", 0, "epoch"), 2, "epochs"),
        (("objectives", 0, "kd_temprature"), 2.0, "kd_temperature"),
        (("requirement", "quality", "max_dorp"), 0.1, "max_drop"),
        (("requirement", "latency_p95"), 5, "latency_p95_ms"),
        (("training", "warm_up"), 0.1, "warmup"),
        (("export", "precison"), "int8", "precision"),
        (("rounds", "chose"), "random", "choose"),
    ],
)
def test_unknown_keys_are_refused_at_any_depth_with_the_nearest_known_one(write, base, path, value, near):
    base |= {
        "objectives": [{"kind": "logits"}], "requirement": {"quality": {"max_drop": 0.02}}, "training": {}, "export": {}, "rounds": {},
    }  # fmt: skip
    base["data"] |= {"split": {}, "limit": {}}
    base["teacher"]["adapt"] = {"how": "head"}
    node = base
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    problem = one(write(base))
    assert problem.message == f"unknown key '{path[-1]}'"
    assert problem.remedy == f"did you mean '{near}'?"
    assert str(path[-1]) in problem.place


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        ({"task": "token-classification"}, "task", "later version"),
        ({"engine": "ray"}, "engine", "later version"),
        ({"search": {}}, "search", "later version"),
        ({"students": [{"name": "t", "kind": "tree"}]}, "students[0].kind", "not known here"),
        ({"students": [{"name": "t", "kind": "trees", "epochs": 2}]}, "students[0].epochs", "unknown key"),
        ({"students": [{"name": "t", "kind": "trees", "buckets": 1000}]}, "students[0].buckets", "power of two"),
        ({"students": [{"name": "c", "kind": "convolutional", "widths": [3, 3]}]}, "students[0].widths", "no widths of filters"),
        ({"students": [{"name": "c", "kind": "convolutional", "widths": []}]}, "students[0].widths", "no widths of filters"),
        ({"students": [{"name": "c", "kind": "convolutional", "dropout": 1.0}]}, "students[0].dropout", "less than 1"),
        ({"students": [{"name": "c", "kind": "recurrent", "layers": 0}]}, "students[0].layers", "at least 1"),
        ({"students": [{"name": "s", "kind": "static", "from": "scratch"}]}, "students[0].from", "no model 'scratch'"),
        ({"students": [{"name": "c", "kind": "recurrent"}], "objectives": [{"kind": "hidden"}]}, "objectives[0]", "no student can use"),
        ({"teacher": {"model": "model"}}, "teacher.kind", "'kind' is missing"),
        ({"teacher": "model"}, "teacher", "must be a mapping"),
        ({"students": []}, "students", "empty"),
        ({"students": [{"kind": "ngram"}]}, "students[0].name", "missing"),
        ({"students": [{"name": "a/b", "kind": "ngram"}]}, "students[0].name", "can't name a folder"),
        ({"students": [{"name": "Teacher", "kind": "ngram"}]}, "students[0].name", "stands for something else"),
        ({"students": [{"name": "a", "kind": "ngram"}, {"name": "A", "kind": "ngram"}]}, "students[1].name", "name of students[0]"),
        ({"students": [{"name": "a", "kind": "transformer", "layers": 7}]}, "students[0].layers", "6 layers"),
        ({"students": [{"name": "a", "kind": "transformer", "layers": [0, 6]}]}, "students[0].layers", "6 layers"),
        ({"students": [{"name": "a", "kind": "transformer", "layers": [0, 0]}]}, "students[0].layers", "are no layers"),
        ({"students": [{"name": "a", "kind": "transformer", "layers": True}]}, "students[0].layers", "are no layers"),
        ({"students": [{"name": "a", "kind": "ngram", "buckets": 1000}]}, "students[0].buckets", "power of two"),
        ({"students": [{"name": "a", "kind": "ngram", "word_ngrams": []}]}, "students[0].word_ngrams", "n-gram"),
        ({"students": [{"name": "a", "kind": "ngram"}], "objectives": [{"kind": "hidden"}]}, "objectives[0]", "no student can use"),
        ({"objectives": [{"kind": "hidden"}]}, "objectives", "can use none"),
        ({"objectives": [{"kind": "logits"}, {"kind": "logits"}]}, "objectives[1]", "two objectives"),
        ({"objectives": [{"kind": "logits", "weight": 0}]}, "objectives[0].weight", "more than 0"),
        ({"objectives": []}, "objectives", "empty"),
        ({"objectives": [{"kind": "tokens"}]}, "objectives[0]", "does not learn by 'tokens'"),
        ({"objectives": [{"kind": "tokens", "weight": 0}]}, "objectives[0]", "both 0"),
        ({"objectives": [{"kind": "tokens", "beta": 0.5}]}, "objectives[0]", "no part of forward_kl"),
        ({"training": {"pack": True}}, "training.pack", "packs no rows"),
        ({"students": [{"name": "a", "kind": "transformer", "layers": 3, "lora": {}}]}, "students[0].lora", "to write nothing"),
        ({"students": [{"name": "a", "kind": "transformer", "layers": [1, 2], "choose": "importance"}]}, "students[0]", "nothing to choose"),
        ({"seeds": []}, "seeds", "different whole numbers"),
        ({"seeds": [1, 1]}, "seeds", "different whole numbers"),
        ({"seeds": [-1]}, "seeds[0]", "at least 0"),
        ({"threads": 0}, "threads", "at least 1"),
        ({"rounds": 3}, "rounds.count", "need a pool"),
        ({"requirement": {}}, "requirement", "nothing is required"),
        ({"requirement": {"quality": {}}}, "requirement.quality", "drop that you accept is missing"),
        ({"requirement": {"quality": {"max_drop": 0.1, "max_relative_drop": 0.1}}}, "requirement.quality", "both given"),
        ({"requirement": {"quality": {"metric": "f1", "max_drop": 0.1}}}, "requirement.quality.metric", "not known"),
        ({"requirement": {"quality": {"max_drop": 1.5}}}, "requirement.quality.max_drop", "less than 1"),
        ({"requirement": {"quality": {"max_drop": 0.1}, "fidelity": {"max_disagreement": 0.1}}}, "requirement.fidelity", "both required"),
        ({"requirement": {"size_mb": 0}}, "requirement.size_mb", "more than 0"),
        ({"requirement": {"size_mb": float("nan")}}, "requirement.size_mb", "finite"),
        ({"requirement": {"speedup": "fast"}}, "requirement.speedup", "must be a number"),
        (
            {"requirement": {"quality": {"metric": "log_loss", "max_relative_drop": 0.1}}},
            "requirement.quality.max_relative_drop", "log_loss",
        ),
        ({"export": {"precision": "int4"}}, "export.precision", "not known"),
        ({"name": True}, "name", "must be text"),
        ({"data": {"train": "train.jsonl", "columns": {"txt": "a"}}}, "data.columns.txt", "no column"),
        ({"data": {"train": []}}, "data.train", "neither a path"),
        ({"data": {"train": "train.jsonl", "split": {"test": 0.9, "validation": 0.05, "calibration": 0.05}}}, "data.split", "no rows"),
        ({"data": {"train": "train.jsonl", "split": {"test": 0.0}}}, "data.split.test", "no test rows"),
        ({"data": {"train": "train.jsonl", "slices": ["a", "a"]}}, "data.slices", "twice"),
        ({"data": {"train": "train.jsonl", "limit": {"train": 0}}}, "data.limit.train", "at least 1"),
        ({"teacher": {"kind": "model", "model": "model", "output_license": "disallowed"}}, "teacher.output_license", "don't allow"),
        ({"teacher": {"kind": "model", "model": "model", "adapt": {"epochs": 2}}}, "teacher.adapt.how", "missing"),
        ({"teacher": {"kind": "model", "model": "modle"}}, "teacher.model", "no model 'modle'"),
        ({"teacher": {"kind": "onnx", "model": "teacher.onxn"}}, "teacher.model", "no file 'teacher.onxn'"),
        ({"teacher": {"kind": "onnx", "model": "teacher.onnx", "labels": ["a", "a"]}}, "teacher.labels", "names of classes"),
        ({"teacher": {"kind": "onnx", "model": "teacher.onnx", "output": "scores"}}, "teacher.output", "not known"),
        ({"teacher": {"kind": "callable", "function": "mine.f", "version": 1}}, "teacher.function", "names no function"),
        ({"teacher": {"kind": "callable", "function": "mine:f"}}, "teacher.version", "missing"),
        ({"teacher": {"kind": "callable", "function": "mine:f", "version": 1, "folder": "lib"}}, "teacher.folder", "no folder 'lib'"),
        ({"teacher": {"kind": "ensemble", "members": [{"kind": "model", "model": "model"}]}}, "teacher.members", ""),
        (
            {"teacher": {"kind": "ensemble", "members": [{"kind": "model", "model": "model"}] * 2, "weights": [1.0]}},
            "teacher.weights", "1 weights for 2 members",
        ),
        (
            {"teacher": {"kind": "ensemble", "members": [{"kind": "model", "model": "model"}, {"kind": "ensemble", "members": []}]}},
            "teacher.members[1].kind", "not known",
        ),
        (
            {"teacher": {"kind": "ensemble", "members": [{"kind": "model", "model": "model"}, {"kind": "onnx", "model": "no.onnx"}]}},
            "teacher.members[1].model", "no file 'no.onnx'",
        ),
        ({"teacher": {"kind": "onnx", "model": "teacher.onnx"}}, "students[0].from", "of kind onnx"),
        (
            {"teacher": {"kind": "model", "model": "model", "precision": "onnx-int8"}, "objectives": [{"kind": "logits"}, {"kind": "hidden"}]},
            "objectives[1]", "no inner states in onnx-int8",
        ),
        (
            {"teacher": {"kind": "model", "model": "model", "usd_per_1000": 2.0}, "rounds": {"count": 2, "choose": "near_disagreements"}},
            "rounds.choose",
            "cost money",
        ),
        ({"suspects": "ask"}, "suspects", "asked again, this teacher says the same"),
        (
            {"teacher": {"kind": "model", "model": "model", "precision": "onnx-fp32"}, "rounds": {"count": 2, "choose": "near_disagreements"}},
            "rounds.choose", "no vectors in onnx-fp32",
        ),
        ({"teacher": {"kind": "model", "model": "."}}, "teacher.model", "config.json is missing"),
    ],
)  # fmt: skip
def test_what_is_refused(write, base, change, place, words):
    found = problems(write({**base, **change}))
    matching = [problem for problem in found if problem.place.endswith(f" {place}")]
    assert matching, [str(problem) for problem in found]
    assert words in matching[0].message
    assert all("Input should" not in str(problem) and "pydantic" not in str(problem).lower() for problem in found)


def test_a_recorded_teacher_fits_what_it_can_give(write, base):
    recorded = {"kind": "recorded", "path": "answers.jsonl", "columns": {"text": "t", "logprobs": "l"}}
    base |= {"teacher": recorded, "students": [{"name": "n", "kind": "ngram"}]}
    assert load(write(base)).teacher.name == "recorded"
    found = problems(
        write(
            {
                **base,
                "students": [{"name": "h", "kind": "transformer", "layers": 2}],
                "objectives": [{"kind": "hidden"}, {"kind": "logits"}],
            }
        )
    )
    assert {problem.place.split()[1] for problem in found} == {"objectives[0]", "students[0].from"}
    found = problems(write({**base, "teacher": {**recorded, "columns": {"logprob": "l"}}}))
    assert found[0].remedy == "did you mean 'logprobs'?"
    student = {"name": "h", "kind": "transformer", "from": "model", "layers": 2}
    assert load(write({**base, "students": [student]})).students[0].source.endswith("/model")
    assert load(write({**base, "students": [{"name": "t", "kind": "trees"}]})).students[0].leaves == 31
    for kind in ("convolutional", "recurrent"):
        found = one(write({**base, "students": [{"name": "s", "kind": kind, "from": "scratch"}]}))
        assert "it has no tokenizer" in found.message
        assert load(write({**base, "students": [{"name": "s", "kind": kind, "from": "model"}]})).students[0].source.endswith("/model")


def test_students_of_words_may_start_from_scratch(write, base):
    kinds = [{"name": kind, "kind": kind, "from": "scratch"} for kind in ("convolutional", "recurrent")]
    assert [student.source for student in load(write({**base, "students": kinds})).students] == ["scratch", "scratch"]


def test_hidden_is_allowed_where_one_student_can_use_it(write, base):
    base["objectives"] = [{"kind": "logits"}, {"kind": "hidden", "layers": [[2, 1], [6, 3]]}]
    assert load(write(base)).objectives[1].layers == [[2, 1], [6, 3]]
    base["students"][1]["objectives"] = [{"kind": "hidden"}]
    found = problems(write(base))
    assert {problem.place.split()[1] for problem in found} == {"students[1].objectives", "students[1].objectives[0]"}


def test_a_bare_number_of_rounds_is_the_count(write, base):
    base["data"]["unlabeled"] = "pool.jsonl"
    rounds = load(write({**base, "rounds": 3})).rounds
    assert (rounds.count, rounds.first, rounds.each) == (3, 1000, 1000)
    rounds = load(write({**base, "rounds": {"count": 3, "each": 200}})).rounds
    assert rounds.first == 200
    assert load(write({**base, "rounds": 1})).rounds.first == "all"
    assert "leaves none" in one(write({**base, "rounds": {"count": 2, "first": "all"}})).message


def test_robustness_has_defaults_and_finds_its_file(write, base, folder):
    assert load(write(base)).robustness.arms == ["typos", "upper_case", "lower_case", "whitespace", "truncation"]
    found = load(write({**base, "robustness": {"arms": [], "out_of_domain": "pool.jsonl"}})).robustness
    assert (found.arms, found.out_of_domain) == ([], str(folder / "pool.jsonl"))


@pytest.mark.parametrize(
    ("section", "place", "words"),
    [
        ({"arms": ["typo"]}, "robustness.arms[0]", "typos"), ({"arms": ["typos", "typos"]}, "robustness.arms", "twice"), ({"rows": 0}, "robustness.rows", ""),
        ({"typo_rate": 0}, "robustness.typo_rate", ""), ({"out_of_domain": "pol.jsonl"}, "robustness.out_of_domain", "pool.jsonl"),
        ({"arm": []}, "robustness.arm", "arms"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_robustness_is_said(write, base, section, place, words):
    problem = one(write({**base, "robustness": section}))
    assert place in problem.place
    assert words in f"{problem.message} {problem.remedy}"


def test_warnings_say_what_should_be_known(write, base):
    base["teacher"].pop("output_license")
    base["data"]["limit"] = {"unlabeled": 5}
    warnings = " ".join(load(write(base)).warnings())
    assert "output_license is unknown" in warnings
    assert "data.limit.unlabeled has no effect" in warnings
    assert "no requirement" in warnings
    base.update(teacher={"kind": "recorded", "path": "answers.jsonl"}, robustness={"ask_teacher": True}, students=[{"name": "ngram", "kind": "ngram"}])
    assert "robustness.ask_teacher has no effect" in " ".join(load(write(base)).warnings())


def test_a_function_is_looked_for_beside_the_recipe(write, base, folder):
    base |= {"students": [{"name": "n", "kind": "ngram"}]}
    one = {"kind": "callable", "function": "mine:f", "version": 2}
    assert (load(write({**base, "teacher": one})).teacher.folder, load(write({**base, "teacher": one})).teacher.version) == (str(folder), "2")
    members = [{"kind": "onnx", "model": "teacher.onnx", "license": "mit", "output_license": "mit"}, {**one, "usd_per_1000": 2.0}]
    both = load(write({**base, "teacher": {"kind": "ensemble", "members": members}}))
    assert both.teacher.members[1].folder == str(folder)
    assert both.teacher.members[0].model == str(folder / "teacher.onnx")
    assert (both.teacher.license, both.teacher.output_license, both.teacher.usd_per_1000) == ("unknown", "unknown", 2.0)
    assert "output_license is unknown" in " ".join(both.warnings())
    assert load(dump(both)) == both


class TestSet:
    """``--set``."""

    def test_by_place_by_name_by_kind_and_new_sections(self, write, base):
        base["objectives"] = [{"kind": "logits"}, {"kind": "hidden"}]
        changes = [
            "students.half.layers=[0, 5]", "students[1].dimensions=32", "students.2.dimensions=16", "objectives.hidden.weight=2e-1",
            "requirement.quality.max_drop=0.01", "seeds=[0, 1]", "name=2024", "data.limit.train=1_000",
        ]  # fmt: skip
        recipe = load(write(base), changes)
        assert recipe.students[0].layers == [0, 5]
        assert (recipe.students[1].dimensions, recipe.students[2].dimensions) == (32, 16)
        assert recipe.objectives[1].weight == 0.2
        assert recipe.requirement.quality.max_drop == 0.01
        assert recipe.seeds == [0, 1]
        assert recipe.name == "2024"
        assert recipe.data.limit.train == 1000

    def test_a_bare_count_of_rounds_can_be_added_to(self, write, base):
        base |= {"rounds": 3}
        recipe = load(write(base), ["rounds.each=50", "data.unlabeled=pool.jsonl"])
        assert (recipe.rounds.count, recipe.rounds.each, recipe.rounds.first) == (3, 50, 50)

    def test_problems_are_placed_at_the_option(self, write, base):
        path = write(base)
        problem = one(path, ["students.half.layrs=4"])
        assert problem.place == "--set students.half.layrs=4"
        assert problem.remedy == "did you mean 'layers'?"
        assert one(path, ["students.half.layers=9"]).place == "--set students.half.layers=9"
        problem = one(path, ["students.hlf.layers=4"])
        assert problem.message == "students has no 'hlf'"
        assert "half, static, ngram" in problem.remedy
        assert one(path, ["students[7].layers=4"]).place == "--set students[7].layers=4"
        assert "KEY=VALUE" in one(path, ["layers"]).message
        assert "no YAML" in one(path, ["name=[1"]).message
        assert one(path, ["data.limt.train=4"]).place == "--set data.limt.train=4"
        assert one(path, ["data.train=[train.jsonl, nope.jsonl]"]).place.startswith("--set data.train=")

    def test_the_last_one_wins(self, write, base):
        assert load(write(base), ["seeds=[1]", "seeds=[2]"]).seeds == [2]

    def test_paths_are_relative_to_the_working_directory_then_to_the_recipe(self, write, base, tmp_path, folder):
        (tmp_path / "mine.jsonl").write_text("{}")
        assert load(write(base), ["data.train=mine.jsonl"]).data.train == str(tmp_path / "mine.jsonl")
        assert load(write(base), ["data.train=dev.jsonl"]).data.train == str(folder / "dev.jsonl")

    def test_no_change_reaches_the_callers_mapping(self, base, folder):
        before = copy.deepcopy(base)
        load(base, ["seeds=[5]", "students.half.layers=2"], base=folder)
        assert base == before


class TestYaml:
    """What YAML 1.1 would have made of it."""

    def test_numbers_with_an_exponent_and_words_that_mean_no(self, write, base, folder):
        text = write(base).read_text() + "training: {weight_decay: 1e-3, warmup: .1}\n"
        text = text.replace("output_license: mit", "output_license: mit\n  labels: {no: yes, 0: 1, off: on, 2024-01-01: a}")
        recipe = load(write(text))
        assert recipe.training.weight_decay == 0.001
        assert recipe.training.warmup == 0.1
        assert recipe.teacher.labels == {"no": "yes", "0": "1", "off": "on", "2024-01-01": "a"}
        assert load(dump(recipe)) == recipe

    def test_what_is_no_yaml_is_placed(self, write):
        problem = one(write("task: text-classification\nname: [a\ndata: {\n"))
        assert problem.place.startswith("recipe.yaml:")
        assert "no YAML" in problem.message

    def test_a_key_given_twice_is_a_problem(self, write, base):
        found = problems(write(write(base).read_text() + "seeds: [1]\nseeds: [2]\n"))
        assert "given twice" in found[0].message

    def test_aliases_and_merges_work_and_bombs_do_not(self, write, base):
        text = write(base).read_text()
        merged = text.replace("- name: static\n  kind: static", "- &s\n  name: static\n  kind: static\n  hidden: 7\n- <<: *s\n  name: other")
        assert [getattr(s, "hidden", None) for s in load(write(merged)).students][1:3] == [7, 7]
        bomb = "a: &a [x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 12)}]\n" for i in range(9))
        assert any("endless" in problem.message for problem in problems(write(bomb)))
        assert any("endless" in problem.message for problem in problems(write("a: &a [*a]\n")))

    def test_tags_are_refused(self, write, base):
        text = write(base).read_text().replace("name: tickets", "name: !!python/name:os.system tickets")
        assert any("tag" in problem.message for problem in problems(write(text)))

    @pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "just words\n", "null\n"])
    def test_what_is_no_mapping(self, write, text):
        problem = one(write(text))
        assert "potstill init" in problem.remedy


def test_files_that_cannot_be_read(folder, write):
    with pytest.raises(UserError, match="no such recipe") as caught:
        load(folder / "recip.yaml")
    assert caught.value.place.endswith("recip.yaml")
    with pytest.raises(UserError, match="a folder"):
        load(folder)
    (folder / "latin.yaml").write_bytes(b"task: text-classification\nname: caf\xe9\n")
    with pytest.raises(UserError, match="UTF-8") as caught:
        load(folder / "latin.yaml")
    assert caught.value.place.endswith("latin.yaml:2")
    (folder / "big.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(UserError, match="too big"):
        load(folder / "big.yaml")


def test_a_recipe_of_python_values_is_the_same_thing(base, folder):
    values = {**base, "data": {"train": [Path("train.jsonl")]}, "seeds": (0, 1)}
    recipe = load(values, base=folder)
    assert recipe.data.train == [str(folder / "train.jsonl")]
    assert recipe.seeds == [0, 1]
    with pytest.raises(Exception, match="two objectives"):
        Recipe(**{**recipe.model_dump(by_alias=True), "objectives": [{"kind": "hard"}, {"kind": "hard"}]})


def test_dumped_recipes_load_again_and_dumping_is_stable(write, base, folder):
    base |= {
        "objectives": [{"kind": "logits", "loss": "mse"}, {"kind": "hidden"}], "requirement": {"quality": {"max_relative_drop": 0.05}},
        "rounds": 2,
    }  # fmt: skip
    base["data"] |= {"unlabeled": ["pool.jsonl"], "columns": {"label": ""}, "source": "a: b # c"}
    base["students"][2] |= {"char_ngrams": None, "learning_rate": 1e-5}
    recipe = load(write(base))
    text = dump(recipe)
    assert load(text) == recipe
    assert dump(load(text)) == text
    assert recipe.model_dump(mode="json", by_alias=True) == load(write(text)).model_dump(mode="json", by_alias=True)
    assert recipe.students[0].model_dump(mode="json", by_alias=True)["from"] == "teacher"


def test_recipes_are_frozen_and_exact(write, base):
    recipe = load(write(base))
    with pytest.raises(Exception, match="frozen"):
        recipe.name = "other"
    assert "whole number" in one(write({**base, "threads": "2"})).message
    assert "whole number" in one(write({**base, "threads": True})).message


@pytest.mark.parametrize("kind", ["hidden", "embedding", "attention", "relations"])
def test_who_has_no_inner_states_can_not_match_them(write, base, kind):
    base["objectives"] = [{"kind": "logits"}, {"kind": kind}]
    assert load(write(base)).objectives[1].kind == kind  # the transformer can
    base["students"] = base["students"][1:]
    assert f"no student can use '{kind}'" in str(problems(write(base)))
    base["students"][0]["objectives"] = [{"kind": kind}]
    assert "can use none of the objectives" in str(problems(write(base)))


def test_a_recorded_teacher_has_nothing_inside(write, base):
    base["teacher"] = {"kind": "recorded", "path": "answers.jsonl", "output_license": "mit"}
    base["students"] = [{"name": "half", "kind": "transformer", "layers": 3, "from": "model", "general": {"data": "pool.jsonl"}}]
    base["objectives"] = [{"kind": "logits"}, {"kind": "relations"}]
    said = str(problems(write(base)))
    assert "a recorded teacher has no inner states" in said
    assert "leave 'relations' out" in said
    assert "leave 'general' out" in said


def test_a_general_stage_is_read_with_its_files(write, base, folder):
    base["students"][0]["general"] = {"data": ["pool.jsonl", "train.jsonl"], "epochs": 2}
    general = load(write(base)).students[0].general
    assert general.data == [str(folder / "pool.jsonl"), str(folder / "train.jsonl")]
    assert [term.kind for term in general.objectives] == ["relations"]
    base["students"][0]["general"] = {"data": "nowhere.txt", "objectives": [{"kind": "hard"}]}
    said = str(problems(write(base)))
    assert "there is no file 'nowhere.txt'" in said
    assert "hard" in said
    base["students"] = [{"name": "static", "kind": "static", "general": {"data": "pool.jsonl"}}]
    assert "general" in str(problems(write(base)))

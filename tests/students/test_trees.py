"""Trees: their text, their ONNX graph and their README are one model; the graph needs no library of trees."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import lightgbm
import numpy as np
import onnx
import onnxruntime
import pytest

from potstill.errors import BundleError
from potstill.export.to_onnx import to_onnx
from potstill.records import Head
from potstill.serving.hashing import reference
from potstill.students import build, forest, trees
from tests.small import texts
from tests.training.boosted import FEATURES, fitted

ODD = [*(row["text"] for row in texts(40, 1)), "", " ", "日本語 の text", "İ \ud83d", "x" * 4000, "good " * 700]
HEAD = Head("classes", ("praise", "blame", "illness"))


@pytest.fixture(scope="module")
def student():
    return fitted()[0]


def items(student, given=ODD):
    return student.preprocess.encode([{"text": text} for text in given])


def answer(graph, student, given=ODD):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, student.preprocess.collate(items(student, given)))[0]


def test_the_graph_answers_as_the_library_does(student):
    graph = to_onnx(student)
    onnx.checker.check_model(graph)
    assert [node.op_type for node in graph.graph.node] == ["TreeEnsemble"]
    np.testing.assert_allclose(answer(graph, student), student.scores(items(student)), atol=1e-5)
    assert graph.SerializeToString(deterministic=True) == to_onnx(student).SerializeToString(deterministic=True)


def test_a_row_alone_answers_as_in_a_batch(student):
    graph = to_onnx(student)
    alone = np.concatenate([answer(graph, student, [text]) for text in ODD])
    np.testing.assert_allclose(alone, answer(graph, student), atol=1e-6)


def test_the_parsed_trees_are_the_library_s(student):
    booster = lightgbm.Booster(model_str=student.model)
    parsed, told = forest.parse(student.model), booster.dump_model()["tree_info"]
    assert len(parsed) == len(told) == booster.num_trees()
    assert [len(tree.values) for tree in parsed] == [tree["num_leaves"] for tree in told]
    assert student.parameters == sum(3 * tree["num_leaves"] - 2 for tree in told)
    for tree in parsed:
        assert (tree.splits % 1 == 0.5).all()  # between two whole counts


def test_a_tree_without_a_split_is_its_one_value():
    leaf = forest.parse("tree\n\nTree=0\nnum_leaves=1\nleaf_value=0.25\n\nTree=1\nnum_leaves=1\nleaf_value=-2\n\nend of trees\n")
    graph = forest.to_onnx(leaf, features=4, classes=2, name="counts", output="logits")
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"counts": np.ones((3, 4), np.float32)})[0].tolist() == [[0.25, -2.0]] * 3


def test_trees_over_anything_but_counts_are_refused():
    for decision in (1, 10):  # by category; with missing values of their own
        with pytest.raises(ValueError, match="category"):
            forest.parse(
                f"tree\n\nTree=0\nnum_leaves=2\nsplit_feature=0\nthreshold=0.5\ndecision_type={decision}\nleft_child=-1\nright_child=-2\nleaf_value=1 2\n\nend of trees\n"
            )


def test_counts_are_the_reference_s_dense_and_sparse(student):
    made, spec = items(student), student.preprocess_spec()
    dense = student.preprocess.collate(made)["counts"]
    assert dense.dtype == np.float32
    assert dense.shape == (len(ODD), FEATURES.buckets)
    for row, text in zip(dense, ODD):
        ids, _ = reference(text, spec)
        assert np.array_equal(row, np.bincount(np.array(ids, int) - 1, minlength=FEATURES.buckets) if ids else 0 * row)
    assert np.array_equal(trees.matrix(made, FEATURES.buckets).toarray(), dense)
    assert student.preprocess.collate([])["counts"].shape == (0, FEATURES.buckets)


def test_saved_and_loaded_it_answers_the_same(student, tmp_path):
    student.save(tmp_path / "s")
    again = build.load(tmp_path / "s")
    assert np.array_equal(again.scores(items(again)), student.scores(items(student)))
    assert (again.head, again.preprocess_spec(), again.parameters) == (student.head, student.preprocess_spec(), student.parameters)
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"model.txt", "student.json", "README.md"}  # nothing is pickled
    (tmp_path / "s" / "model.txt").unlink()
    with pytest.raises(BundleError, match="its trees can't be read"):
        build.load(tmp_path / "s")


def test_the_readme_s_code_answers_without_potstill(student, tmp_path):
    student.save(tmp_path)
    code = re.search("```python\n(.*?)```", (tmp_path / "README.md").read_text("utf-8"), re.S)[1]
    program = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('potstill', 'torch'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        f"{code}\n"
        "print('OUT' + json.dumps([logits(text).tolist() for text in json.loads(sys.stdin.read())]))\n"
        f"assert labels == {list(student.head.labels)}"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, input=json.dumps(ODD), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout.partition("OUT")[2]), student.scores(items(student)), atol=1e-5)

"""The graph: any batch and length, the same bytes for the same weights, and a student left as it was."""

from __future__ import annotations

import logging
import warnings

import onnx
import pytest
import torch
from torch import nn

from potstill import storage
from potstill.export.to_onnx import OPSET, evaluating, to_onnx
from tests.export.students import KINDS, student


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_weights_give_the_same_bytes(kind):
    first, again = (to_onnx(student(kind)).SerializeToString(deterministic=True) for _ in range(2))
    assert storage.sha256_bytes(first) == storage.sha256_bytes(again)
    other = to_onnx(student(kind, seed=1)).SerializeToString(deterministic=True)
    assert first != other
    assert b"/potstill/" not in first  # nor any path of this machine
    assert b"site-packages" not in first


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_names_its_inputs_and_leaves_its_sizes_open(kind):
    made = student(kind)
    model = to_onnx(made)
    onnx.checker.check_model(model)
    assert [entry.version for entry in model.opset_import] == [OPSET]
    assert [node.name for node in model.graph.input] == list(made.preprocess.inputs)
    for node in model.graph.input:
        assert [size.dim_param for size in node.type.tensor_type.shape.dim] == ["rows", "length"]
    assert [node.name for node in model.graph.output] == ["logits"]
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_nothing_is_said_and_no_logger_is_changed(caplog, capsys):
    made = student("transformer")
    levels = {name: logging.getLogger(name).level for name in ("", "torch.onnx")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_onnx(made)
    assert not caplog.records
    assert capsys.readouterr() == ("", "")
    assert levels == {name: logging.getLogger(name).level for name in levels}


def test_evaluating_gives_each_part_the_mode_it_had_even_after_an_error():
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(1, 1))).train()
    module[1][0].eval()  # frozen while the others train
    modes = [part.training for part in module.modules()]

    def fail():
        with evaluating(module):
            assert not any(part.training for part in module.modules())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [part.training for part in module.modules()] == modes


def test_exporting_draws_no_random_numbers():
    made = student("transformer")
    before = torch.get_rng_state()
    to_onnx(made)
    assert torch.equal(before, torch.get_rng_state())

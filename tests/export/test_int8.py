"""Int8 on the graph as data: which weights, how far off, and the kernel against the arithmetic written out."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from potstill.export import int8
from potstill.export.int8 import by_row, to_int8

RNG = np.random.default_rng(0)


def graph(nodes, weights, inputs, outputs):
    made = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model, **feeds):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def names(model):
    return {tensor.name for tensor in model.graph.initializer}


def gather(table, axis=0):
    node = helper.make_node("Gather", ["table", "ids"], ["y"], axis=axis)
    return graph([node], {"table": table}, [("ids", TensorProto.INT64, ["n"])], [("y", ["n", "m"])])


def multiply(matrix, op="MatMul", bias=None, **options):
    node = helper.make_node(op, ["x", "w", *(["b"] if bias is not None else [])], ["y"], **options)
    inputs = matrix.shape[1] if options.get("transB") else matrix.shape[0]
    weights = {"w": matrix} | ({"b": bias} if bias is not None else {})
    return graph([node], weights, [("x", TensorProto.FLOAT, ["n", inputs])], [("y", ["n", "m"])])


def test_a_table_is_off_by_half_a_step_of_its_row_at_most():
    table = RNG.normal(size=(500, 32)).astype(np.float32) * RNG.uniform(0.01, 100, (500, 1)).astype(np.float32)
    table[7] = 0
    made = to_int8(gather(table))
    assert (made.tables, made.max_batch) == (("table",), None)
    said = run(made.model, ids=np.arange(500))
    steps = np.abs(table).max(1, keepdims=True) / 127
    assert (np.abs(said - table) <= steps * 0.501).all()
    assert not said[7].any()
    onnx.checker.check_model(made.model)
    assert made.model.ByteSize() < 0.35 * table.nbytes


def test_small_tables_and_other_axes_and_shared_ones_stay():
    small = RNG.normal(size=(int8.MIN_ROWS - 1, 8)).astype(np.float32)
    big = RNG.normal(size=(int8.MIN_ROWS, 8)).astype(np.float32)
    assert to_int8(gather(small)).tables == ()
    assert to_int8(gather(big.T.repeat(64, 0), axis=1)).tables == ()
    tied = gather(big)  # a table that is multiplied with as well
    tied.graph.node.append(helper.make_node("MatMul", ["table", "v"], ["z"]))
    tied.graph.input.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, [8, 1]))
    tied.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    assert to_int8(tied).tables == ()


def test_a_table_read_twice_is_stored_once():
    table = RNG.normal(size=(300, 16)).astype(np.float32)
    model = gather(table)
    model.graph.node.append(helper.make_node("Gather", ["table", "ids"], ["z"], axis=0))
    model.graph.node.append(helper.make_node("Sub", ["y", "z"], ["d"]))
    model.graph.output[0].name = "d"
    made = to_int8(model)
    assert names(made.model) == {"table.int8", "table.scale"}
    assert not run(made.model, ids=np.arange(300)).any()


def written_out(x, matrix):
    """The product as it is to be computed: x in 8 bits with one scale, each column of the matrix in 7 bits with its own. float64."""
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    step = (high - low) / 255
    zero = np.rint(-low / step)
    rounded = (np.clip(np.rint(x.astype(np.float64) / step) + zero, 0, 255) - zero) * step
    scales = np.abs(matrix).max(0) / 64  # from -64 to 64
    return rounded @ (np.rint(matrix / scales) * scales)


@pytest.mark.parametrize("inputs", [128, 384, 1536])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_kernel_computes_what_is_written_out(inputs, scale):
    matrix = RNG.normal(size=(inputs, 256)).astype(np.float32) * RNG.uniform(0.1, 10, 256).astype(np.float32)
    x = (RNG.normal(size=(9, inputs)) * scale).astype(np.float32)
    made = to_int8(multiply(matrix))
    assert (made.matrices, made.max_batch) == (("w",), 1)
    said, wanted, exact = run(made.model, x=x), written_out(x, matrix), x.astype(np.float64) @ matrix
    assert np.abs(said - wanted).std() < 0.3 * np.abs(wanted - exact).std()  # nearer to the rule than the rule is to fp32
    assert np.abs(said - exact).std() < 0.02 * exact.std()


def test_the_greatest_products_don_t_overflow():
    """Without VNNI two 8-bit products are summed in 16 bits: with 8-bit weights a third would be lost here."""
    made = to_int8(multiply(np.ones((1536, 256), np.float32)))
    np.testing.assert_allclose(run(made.model, x=np.ones((3, 1536), np.float32)), 1536, rtol=1e-5)
    np.testing.assert_allclose(run(made.model, x=-np.ones((3, 1536), np.float32)), -1536, rtol=1e-5)


def test_a_batch_has_one_scale_and_so_rows_are_asked_one_at_a_time():
    """If ever a row's product stops depending on its neighbors, ``max_batch`` can go."""
    matrix = RNG.normal(size=(384, 384)).astype(np.float32)
    made = to_int8(multiply(matrix))
    row = RNG.normal(size=(1, 384)).astype(np.float32)
    loud = np.concatenate([row, 1000 * np.ones((5, 384), np.float32)])
    assert np.abs(run(made.model, x=loud)[0] - row @ matrix).max() > 10 * np.abs(run(made.model, x=row) - row @ matrix).max()
    assert made.max_batch == 1


@pytest.mark.parametrize("turned", [0, 1])
def test_gemm_with_its_bias(turned):
    matrix, bias = RNG.normal(size=(256, 256)).astype(np.float32), RNG.normal(size=256).astype(np.float32)
    x = RNG.normal(size=(5, 256)).astype(np.float32)
    made = to_int8(multiply(matrix, "Gemm", bias, transB=turned))
    assert made.matrices == ("w",)
    wanted = x @ (matrix.T if turned else matrix) + bias
    assert np.abs(run(made.model, x=x) - wanted).max() < 0.1 * wanted.std()


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
def test_small_matrices_stay_beside_large_ones(op):
    model = multiply(RNG.normal(size=(256, 256)).astype(np.float32))
    small = RNG.normal(size=(256, 21)).astype(np.float32)  # a classifier
    bias = {"c": np.ones(21, np.float32)} if op == "Gemm" else {}
    model.graph.node.append(helper.make_node(op, ["y", "small", *bias], ["z"], name="classifier"))
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in ({"small": small} | bias).items())
    model.graph.output[0].name = "z"
    made = to_int8(model)
    assert made.matrices == ("w",)
    assert "small" in names(made.model)
    alone = to_int8(multiply(small))
    assert (alone.matrices, alone.max_batch) == ((), None)


def test_the_given_model_and_the_root_logger_are_left_alone():
    model = multiply(np.ones((256, 256), np.float32))
    before = model.SerializeToString()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    first, again = (to_int8(model).model.SerializeToString(deterministic=True) for _ in range(2))
    assert first == again
    assert model.SerializeToString() == before
    assert (root.handlers, root.level) == (handlers, level)


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 20), width=st.integers(1, 70), seed=st.integers(0, 2**31), scale=st.sampled_from([0.0, 1e-30, 1.0, 1e30]))
def test_rounding_is_bounded_whatever_the_shape(rows, width, seed, scale):
    array = (np.random.default_rng(seed).normal(size=(rows, width)) * scale).astype(np.float32)
    steps, scales = by_row(array)
    assert (np.abs(steps.astype(np.float64) * scales - array) <= scales * 0.51).all()
    assert (steps.dtype, scales.shape) == (np.int8, (rows, 1))

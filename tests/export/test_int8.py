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

from potstill.export import activations, int8
from potstill.export.activations import fit
from potstill.export.int8 import by_harm, by_row, to_int8, watch

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
    assert made.tables == ("table",)
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


def weighted(table, *, also=False):
    """A sum of a table's rows by weights of theirs, as bags have it."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0),
        helper.make_node("MatMul", ["weights", "rows"], ["y"]),
        *([helper.make_node("Identity", ["rows"], ["z"])] if also else []),
    ]
    inputs = [("ids", TensorProto.INT64, ["n", "l"]), ("weights", TensorProto.FLOAT, ["n", 1, "l"])]
    return graph(nodes, {"table": table}, inputs, [("y", ["n", 1, "m"]), *([("z", ["n", "l", "m"])] if also else [])])


@pytest.mark.parametrize("also", [False, True])
def test_weights_of_a_sum_take_the_scales_of_its_rows(also):
    table = RNG.normal(size=(300, 16)).astype(np.float32) * RNG.uniform(0.01, 100, (300, 1)).astype(np.float32)
    ids, weights = RNG.integers(0, 300, (5, 7)), RNG.normal(size=(5, 1, 7)).astype(np.float32)
    made = to_int8(weighted(table, also=also))
    rows, scales = by_row(table)
    np.testing.assert_allclose(run(made.model, ids=ids, weights=weights), weights @ (rows * scales)[ids], rtol=1e-4, atol=1e-3)
    assert any(node.name == "rows.scaled" for node in made.model.graph.node) == also  # rows are scaled whole only for who reads them whole
    onnx.checker.check_model(made.model)


def test_rows_of_ids_in_one_line_are_scaled_whole():
    table = RNG.normal(size=(300, 16)).astype(np.float32)
    model = gather(table)
    model.graph.node.append(helper.make_node("MatMul", ["x", "y"], ["z"]))
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, "n"]))
    model.graph.output[0].name = "z"
    rows, scales = by_row(table)
    x, ids = RNG.normal(size=(2, 4)).astype(np.float32), np.array([1, 5, 5, 9])
    np.testing.assert_allclose(run(to_int8(model).model, x=x, ids=ids), x @ (rows * scales)[ids], rtol=1e-4, atol=1e-3)


def seen_of(model, x):
    return watch(model, [{"x": row[None]} for row in x])


def written_out(x, matrix, grid):
    """The product as it is to be computed: x on its grid in 8 bits, each column of the matrix in 7 bits with its own scale. float64."""
    even = x.astype(np.float64) / grid.smooth
    rounded = (np.clip(np.rint(even / grid.step) + grid.zero, 0, 255) - grid.zero) * np.float64(grid.step)
    weights = matrix.astype(np.float64) * grid.smooth[:, None]
    scales = np.abs(weights).max(0) / 63
    return rounded @ (np.rint(weights / scales) * scales)


@pytest.mark.parametrize("inputs", [128, 384, 1536])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_kernel_computes_what_is_written_out(inputs, scale):
    matrix = RNG.normal(size=(inputs, 256)).astype(np.float32) * RNG.uniform(0.1, 10, 256).astype(np.float32)
    x = (RNG.normal(size=(40, inputs)) * scale * RNG.lognormal(0, 1.5, inputs)).astype(np.float32)  # some channels are far louder than others
    model = multiply(matrix)
    seen = seen_of(model, x)
    made = to_int8(model, seen)
    assert (made.matrices, made.spared) == (("w",), ())
    said, wanted, exact = run(made.model, x=x), written_out(x, matrix, fit(seen["x"], [matrix])), x.astype(np.float64) @ matrix
    assert np.abs(said - wanted).std() < 0.3 * np.abs(wanted - exact).std()  # nearer to the rule than the rule is to fp32
    assert np.abs(said - exact).std() < 0.05 * exact.std()


def test_loud_channels_hand_their_loudness_to_the_weights():
    matrix = RNG.normal(size=(64, 256)).astype(np.float32)
    x = RNG.normal(size=(200, 64)).astype(np.float32)
    x[:, 3] *= 200
    model = multiply(matrix)
    seen = seen_of(model, x)["x"]
    grid, plain = fit(seen, [matrix]), activations._grid(seen, matrix, None)
    exact = x.astype(np.float64) @ matrix
    assert grid.smooth[3] > 5 * np.median(grid.smooth)
    assert np.abs(written_out(x, matrix, grid) - exact).std() < 0.5 * np.abs(written_out(x, matrix, plain) - exact).std()


def test_a_silent_channel_that_speaks_later_does_no_harm():
    matrix = RNG.normal(size=(64, 256)).astype(np.float32)
    x = RNG.normal(size=(50, 64)).astype(np.float32)
    x[:, 5] = 0
    model = multiply(matrix)
    made = to_int8(model, seen_of(model, x)).model
    x[0, 5] = 1.0
    assert np.abs(run(made, x=x[:1]) - x[:1] @ matrix).max() < 0.1 * np.abs(x[:1] @ matrix).std()


def test_the_greatest_products_don_t_overflow():
    """Without VNNI two 8-bit products are summed in 16 bits: with 8-bit weights a third would be lost here."""
    model = multiply(np.ones((1536, 256), np.float32))
    for x in (np.ones((3, 1536), np.float32), -np.ones((3, 1536), np.float32)):
        np.testing.assert_allclose(run(to_int8(model, seen_of(model, x)).model, x=x), x @ np.ones((1536, 256)), rtol=1e-5)


def test_a_row_s_product_is_its_own():
    matrix = RNG.normal(size=(384, 384)).astype(np.float32)
    row = RNG.normal(size=(1, 384)).astype(np.float32)
    model = multiply(matrix)
    made = to_int8(model, seen_of(model, row)).model
    loud = np.concatenate([row, 1000 * np.ones((5, 384), np.float32)])
    np.testing.assert_allclose(run(made, x=loud)[:1], run(made, x=row), rtol=1e-6)


def uneven(rows=20):
    """Activations whose first row is a hundred times as loud as the others: no fixed grid fits all."""
    x = RNG.normal(size=(rows, 256)).astype(np.float32)
    x[0] *= 100
    return x


def test_spared_matrices_have_int8_weights_and_no_grid():
    matrix, x = RNG.normal(size=(256, 256)).astype(np.float32), uneven()
    model = multiply(matrix)
    seen = seen_of(model, x)
    spared, rounded = to_int8(model, seen, spared=["w"]), to_int8(model, seen)
    assert (spared.matrices, spared.spared, rounded.spared) == (("w",), ("w",), ())

    def error(made):
        return np.abs(run(made.model, x=x) - x @ matrix)[1:].std()

    assert error(spared) < 0.1 * error(rounded)
    assert spared.model.ByteSize() < 0.3 * matrix.nbytes
    assert to_int8(model).spared == ("w",)  # nothing is known of its activations


def test_the_most_harmful_product_comes_first():
    first, second = (RNG.normal(size=(256, 256)).astype(np.float32) / 16 for _ in range(2))
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"], name="a"), helper.make_node("Tanh", ["a"], ["b"], name="b"),
        helper.make_node("MatMul", ["b", "second"], ["y"], name="y"),
    ]  # fmt: skip
    model = graph(nodes, {"second": second, "first": first}, [("x", TensorProto.FLOAT, ["n", 256])], [("y", ["n", 256])])
    batches = [{"x": row[None]} for row in uneven()]
    assert by_harm(model, watch(model, batches), batches) == ["first", "second"]


@pytest.mark.parametrize("turned", [0, 1])
def test_gemm_with_its_bias(turned):
    matrix, bias = RNG.normal(size=(256, 256)).astype(np.float32), RNG.normal(size=256).astype(np.float32)
    x = RNG.normal(size=(5, 256)).astype(np.float32)
    made = to_int8(multiply(matrix, "Gemm", bias, transB=turned))
    assert made.matrices == ("w",)
    wanted = x @ (matrix.T if turned else matrix) + bias
    assert np.abs(run(made.model, x=x) - wanted).max() < 0.1 * wanted.std()


def test_a_gemm_that_is_no_linear_layer_stays():
    matrix = RNG.normal(size=(256, 256)).astype(np.float32)
    assert to_int8(multiply(matrix, "Gemm", alpha=0.5)).matrices == ()


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
    assert alone.matrices == ()


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

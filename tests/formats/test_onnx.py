"""ONNX: weights off a graph. The goldens are real exports of timm and Hugging Face; the bad files
are goldens with one thing changed."""

import numpy as np
import pytest
from test_sources import CLOSE, OUTPUTS, SIZES, built, difference, golden

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import folded_batch_norm
from keras_mobilenet.formats.registry import open_checkpoint
from keras_mobilenet.nets.conventions import Conventions

onnx = pytest.importorskip("onnx")

FOLDED, UNFOLDED, HF = "onnx_timm_folded", "onnx_timm_unfolded", "onnx_hugging_face"
KERAS, SAME, SYMMETRIC = (Conventions(1e-3, p) for p in ("keras", "same", "symmetric"))


@pytest.fixture
def edited(tmp_path):
    """Write a golden again, after a change of its graph."""

    def write(name, change):
        model = onnx.load(golden(name))
        change(model.graph)
        onnx.save(model, tmp_path / "x.onnx")
        return tmp_path / "x.onnx"

    return write


def nodes(graph, kind):
    return [node for node in graph.node if node.op_type == kind]


def attribute(node, name):
    return next(a for a in node.attribute if a.name == name)


def set_attribute(kind, number, name, value):
    def change(graph):
        node = nodes(graph, kind)[number]
        for old in [a for a in node.attribute if a.name == name]:
            node.attribute.remove(old)
        node.attribute.append(onnx.helper.make_attribute(name, value))

    return change


def strided(graph):
    """The five strided convolutions, the stem first."""
    return [n for n in nodes(graph, "Conv") if list(attribute(n, "strides").ints) == [2, 2]]


def traced_at(graph, height, width):
    dims = graph.input[0].type.tensor_type.shape.dim
    for dim, n in zip(dims[2:], (height, width), strict=True):
        dim.ClearField("dim_value")
        if n:
            dim.dim_value = n
        else:
            dim.dim_param = "n"


def padded(size, *pads, nodes_of_their_own=()):
    """A change to another size and other pads of the strided convolutions."""

    def change(graph):
        traced_at(graph, *size)
        for number, (conv, pad) in enumerate(
            zip(strided(graph), pads * (5 // len(pads)), strict=True)
        ):
            old = attribute(conv, "pads")
            del old.ints[:]
            if isinstance(pad, bytes):
                conv.attribute.remove(old)
                for kind in [a for a in conv.attribute if a.name == "auto_pad"]:
                    conv.attribute.remove(kind)
                conv.attribute.append(onnx.helper.make_attribute("auto_pad", pad))
            elif number in nodes_of_their_own:
                old.ints.extend([0, 0, 0, 0])
                pad_ahead(graph, conv, pad)
            else:
                old.ints.extend([pad[0], pad[0], pad[1], pad[1]])

    return change


def pad_ahead(graph, conv, pad, value=None, axes=(0, 0, 1, 1)):
    amounts = np.array([pad[0] * a for a in axes] + [pad[1] * a for a in axes])
    graph.initializer.append(onnx.numpy_helper.from_array(amounts, f"{conv.name}_pads"))
    inputs = [conv.input[0], f"{conv.name}_pads"]
    if value is not None:
        scalar = onnx.numpy_helper.from_array(np.float32(value), f"{conv.name}_value")
        graph.initializer.append(scalar)
        inputs.append(scalar.name)
    node = onnx.helper.make_node("Pad", inputs, [f"{conv.name}_padded"])
    graph.node.insert(list(graph.node).index(conv), node)
    conv.input[0] = f"{conv.name}_padded"


def conventions(path):
    with open_checkpoint(path) as checkpoint:
        return checkpoint.conventions, checkpoint.notes


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [n for n in OUTPUTS if "onnx" in n])
def test_an_export_gives_what_the_library_puts_out_at_even_and_odd_sizes(name, size):
    assert difference(built(name, size), name, size) < CLOSE


def test_a_graph_with_its_batch_norms_tells_their_epsilon():
    assert conventions(golden(UNFOLDED)) == (Conventions(1e-5, "symmetric"), ())


def test_a_folded_graph_says_so_and_has_no_epsilon_of_its_own():
    found, notes = conventions(golden(FOLDED))
    assert found == SYMMETRIC
    assert notes == ("the batch norms were folded into the convolutions: each has become 1",)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 2e-3])
def test_a_folded_batch_norm_only_adds_to_the_last_bit(epsilon):
    bias = np.linspace(-3, 3, 7, dtype="float32")
    gamma, beta, mean, variance = folded_batch_norm("bn", bias, epsilon).values()
    scale = gamma / np.sqrt(variance + np.float32(epsilon), dtype="float32")
    assert np.array_equal(scale, np.ones(7, "float32"))
    assert np.array_equal(beta - mean * scale, bias)


END, BOTH, UPPER = (0, 1), (1, 1), b"SAME_UPPER"
PADDINGS = [
    pytest.param((224, 224), [BOTH], {}, SYMMETRIC, id="symmetric"),
    pytest.param((None, None), [BOTH], {}, SYMMETRIC, id="symmetric_at_any_size"),
    pytest.param((225, 224), [BOTH], {}, SYMMETRIC, id="symmetric_where_one_axis_tells"),
    pytest.param((None, None), [UPPER], {}, SAME, id="same_at_any_size"),
    pytest.param((224, 224), [UPPER], {}, SAME, id="auto_pad"),
    pytest.param((200, 200), [END, END, END, BOTH, BOTH], {}, SAME, id="same_at_200"),
    pytest.param((200, 200), [END], {}, KERAS, id="keras_at_200"),
    pytest.param((193, 193), [BOTH, END, END, END, END], {}, KERAS, id="keras_at_193"),
    pytest.param((None, None), [UPPER, END, END, END, END], {}, KERAS, id="keras_at_any_size"),
    pytest.param((224, 224), [END], {}, SAME, id="even"),
    pytest.param((224, 224), [END], {"nodes_of_their_own": range(5)}, SAME, id="even_by_nodes"),
    pytest.param((224, 224), [END], {"nodes_of_their_own": range(1, 5)}, KERAS, id="as_keras"),
]


@pytest.mark.parametrize(("size", "pads", "options", "expected"), PADDINGS)
def test_the_pads_at_the_traced_size_tell_the_padding(edited, size, pads, options, expected):
    found, notes = conventions(edited(HF, padded(size, *pads, **options)))
    assert found == expected
    unsure = any("tells its padding at 224 x 224 pixels only" in note for note in notes)
    assert unsure is (size == (224, 224) and pads != [BOTH])


UNKNOWN_PADS = [
    pytest.param((193, 193), [BOTH], "paddings same and symmetric are one", id="ambiguous"),
    pytest.param(
        (None, None), [END], "at any x any pixels the graph pads as no", id="unknown_size"
    ),
    pytest.param((224, 224), [(1, 0)], "pads as no known MobileNet", id="at_the_beginning"),
    pytest.param((224, 224), [(0, 0)], "pads as no known MobileNet", id="nowhere"),
    pytest.param((224, 224), [b"VALID"], "pads as no known MobileNet", id="valid"),
    pytest.param((224, 224), [b"SAME_LOWER"], "conv1 is padded in a way", id="same_lower"),
    pytest.param((224, 224), [BOTH, END, END, END, END], "as no known", id="mixed"),
]


@pytest.mark.parametrize(("size", "pads", "match"), UNKNOWN_PADS)
def test_pads_of_no_padding_are_refused(refuse, edited, size, pads, match):
    refuse(edited(HF, padded(size, *pads)), match)


def with_background(graph):
    for tensor in [t for t in graph.initializer if t.name.startswith("classifier.")]:
        values = np.zeros((1001, *tensor.dims[1:]), "float32")
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def test_1001_classes_begin_with_a_background(edited):
    with open_checkpoint(edited(HF, with_background)) as checkpoint:
        assert checkpoint.background
    with open_checkpoint(golden(HF)) as checkpoint:
        assert not checkpoint.background


def classifier_of(kind):
    """A change of the top's Gemm to another operation that computes the same."""

    def change(graph):
        gemm = graph.node.pop()
        arrays = {t.name: t for t in graph.initializer}
        kernel = onnx.numpy_helper.to_array(arrays["classifier.weight"])
        made = {"Conv": kernel[:, :, None, None]}.get(kind, kernel.T)
        arrays["classifier.weight"].CopyFrom(
            onnx.numpy_helper.from_array(np.ascontiguousarray(made), "classifier.weight")
        )
        if kind == "MatMul":
            product = onnx.helper.make_node("MatMul", gemm.input[:2], ["product"])
            total = onnx.helper.make_node("Add", ["product", gemm.input[2]], gemm.output)
            graph.node.extend([product, total])
        else:
            graph.node.append(onnx.helper.make_node(kind, gemm.input, gemm.output))
            graph.node.append(onnx.helper.make_node("Softmax", gemm.output, ["classes"]))

    return change


@pytest.mark.parametrize("kind", ["MatMul", "Gemm", "Conv"])
def test_every_kind_of_classifier_gives_the_same_outputs(edited, kind):
    model = built(FOLDED, weights=edited(FOLDED, classifier_of(kind)))
    assert difference(model, FOLDED, 224) < CLOSE


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_graph_without_its_classifier_has_no_top(edited, left):
    def change(graph):
        del graph.node[len(graph.node) - 3 + left :]

    model = built(FOLDED, weights=edited(FOLDED, change), include_top=False)
    assert len(model.weights) == 135


# Graphs that are none


def set_array(name, change):
    def edit(graph):
        tensor = next(t for t in graph.initializer if t.name == name)
        made = np.ascontiguousarray(change(onnx.numpy_helper.to_array(tensor)))
        tensor.CopyFrom(onnx.numpy_helper.from_array(made, name))

    return edit


def external(graph):
    tensor = graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def short_of_values(graph):
    graph.initializer[2].raw_data = graph.initializer[2].raw_data[:-4]


def of_huge_shape(graph):
    graph.initializer[2].dims[0] = 1 << 40


def with_clip(low, high):
    def change(graph):
        names = nodes(graph, "Clip")[0].input[1:]
        for name, value in zip(names, (low, high), strict=True):
            set_array(name, lambda _, value=value: np.float32(value))(graph)

    return change


def with_node(kind, number, **options):
    """Put a node after the first one of a kind."""

    def change(graph):
        after = nodes(graph, kind)[number]
        node = onnx.helper.make_node(*options["node"], after.output, ["new"])
        for reader in graph.node:
            for i, name in enumerate(reader.input):
                if name == after.output[0]:
                    reader.input[i] = "new"
        graph.node.insert(list(graph.node).index(after) + 1, node)

    return change


def branch(graph):
    first = nodes(graph, "Conv")[0]
    graph.node.append(onnx.helper.make_node("Relu", first.output, ["branch"]))


def second_input(graph):
    graph.input.append(onnx.helper.make_tensor_value_info("y", 1, [1]))


def loop(graph):
    graph.node[-1].output[0] = graph.input[0].name


def computed_kernel(graph):
    conv = nodes(graph, "Conv")[3]
    graph.node.insert(0, onnx.helper.make_node("Neg", [conv.input[1]], ["negated"]))
    conv.input[1] = "negated"


def without_bias(graph):
    del nodes(graph, "Conv")[4].input[2]


def pad_of(**options):
    def change(graph):
        pad_ahead(graph, nodes(graph, "Conv")[0], (0, 1), **options)

    return change


BAD_GRAPHS = [
    (external, HF, "lies in another file, which is never opened: .*external_data=False"),
    (with_clip(0, 3), HF, "conv1 is followed by another activation, not by MobileNet's ReLU6"),
    (with_clip(-1, 6), HF, "conv1 is followed by another activation, not by"),
    (with_node("Conv", 3, node=["Sigmoid"]), HF, "conv_dw_2 is followed by sigmoid, not by"),
    (with_node("Clip", 26, node=["Mul"]), HF, "the node behind 27 convolutions is Mul, so this"),
    (
        with_node("Gemm", 0, node=["Relu"]),
        HF,
        "conv_preds is followed by relu, not by MobileNet's none",
    ),
    (
        set_attribute("Conv", 3, "strides", [1, 1]),
        HF,
        "convolution 4 is .* with a stride of 1, where",
    ),
    (
        set_attribute("Conv", 3, "group", 1),
        HF,
        "convolution 4 is Conv2D with .* has DepthwiseConv2D",
    ),
    (set_attribute("Conv", 2, "group", 3), HF, "conv_pw_1 has 3 groups of channels"),
    (set_attribute("Conv", 1, "dilations", [2, 2]), HF, "convolution 2 is .* dilated by 2, where"),
    (set_attribute("Conv", 1, "pads", [1, 1]), HF, r"conv_dw_1 has the pads \(1, 1\)"),
    (set_attribute("Gemm", 0, "alpha", 0.5), HF, "conv_preds scales its inputs"),
    (set_attribute("BatchNormalization", 3, "epsilon", 0.1), UNFOLDED, "batch norms differ"),
    (set_attribute("BatchNormalization", 3, "training_mode", 1), UNFOLDED, "in training mode"),
    (branch, HF, "conv1 is followed by relu and relu6"),
    (second_input, HF, "the graph has 2 inputs, a MobileNet has 1"),
    (lambda graph: graph.node.pop(0), HF, "the net has 0 convolutions"),
    (loop, HF, "the graph runs in a circle"),
    (computed_kernel, HF, "'negated' is computed in the graph, not stored"),
    (without_bias, HF, "conv_pw_2 has neither a bias nor a batch norm"),
    (pad_of(value=1), HF, "Pad node ahead of conv1 does not simply add zeros"),
    (pad_of(axes=(0, 1, 1, 1)), HF, "Pad node ahead of conv1 pads the channels"),
    (lambda graph: graph.ClearField("node"), HF, "the net has 0 convolutions, MobileNet V1 28"),
]


@pytest.mark.parametrize(("change", "name", "match"), BAD_GRAPHS, ids=[m for _, _, m in BAD_GRAPHS])
def test_a_graph_that_is_no_mobilenet_is_refused(refuse, edited, change, name, match):
    refuse(edited(name, change), match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (short_of_values, "holds other values than its shape tells"),
        (of_huge_shape, r"file \(1, 1, 3, 1099511627776\)"),
        (set_array("classifier.bias", lambda a: a * np.nan), "conv_preds/bias .*NaN"),
        (set_array("classifier.bias", lambda a: a.astype("int64")), "int64, not floats"),
        (set_array("classifier.weight", lambda a: a[:, :-1]), r"file \(1, 1, 95, 5\)"),
        (
            set_array("classifier.weight", lambda a: a[0]),
            r"kernel of conv_preds has the shape \(96,\)",
        ),
    ],
)
def test_values_that_do_not_fit_are_refused(edited, change, match):
    with pytest.raises(CheckpointError, match=match):
        built(HF, weights=edited(HF, change))


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.99, 1])
def test_a_truncated_file_is_refused(refuse, tmp_path, share):
    content = golden(HF).read_bytes()
    (tmp_path / "x.onnx").write_bytes(content[: int(len(content) * share) - 1])
    refuse(tmp_path / "x.onnx", "truncated or damaged|the graph has")


def test_a_file_far_larger_than_the_net_is_refused_unread(refuse, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(golden(HF).read_bytes()[:100])
    with open(path, "rb+") as file:
        file.truncate(1 << 35)
    refuse(path, "far more than the model needs")

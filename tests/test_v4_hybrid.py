"""MobileNetV4's hybrid nets: attention in Keras, in NumPy and in each runtime, and what refuses it.

That a whole net gives the real timm's logits is held in `formats/test_family_sources.py`.
"""

import inspect
import math

import keras
import numpy as np
import pytest
from coloured_shapes import shapes, write_shapes
from deploy_nets import settle
from litert_arena import arena
from PIL import Image
from random_models import randomise

from keras_mobilenet import (
    MobileNetV4ConvSmall,
    MobileNetV4HybridLarge,
    MobileNetV4HybridMedium,
    Predictor,
    cam,
    export,
    features,
    finetune,
    fold_batch_norm,
    inspect_weights,
    layer_costs,
    peak_memory,
    plot_model,
    save_weights,
    summary,
)
from keras_mobilenet.checkpoints.net_weights import Builder, net_weights
from keras_mobilenet.deploy.graphs.keras_graph import graph_of_model
from keras_mobilenet.deploy.graphs.net_graph import graph_of_net
from keras_mobilenet.deploy.graphs.operations import simplified
from keras_mobilenet.deploy.graphs.reference import activated, reference_outputs
from keras_mobilenet.deploy.graphs.writers.tflite import tflite_content
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.models.layers.attention import MultiQueryAttention
from keras_mobilenet.models.model_files import load_model, save_model
from keras_mobilenet.nets.families import v4
from keras_mobilenet.nets.families.registry import family
from keras_mobilenet.nets.net import REGISTERED_ATTENTION

BUILDERS = (MobileNetV4HybridMedium, MobileNetV4HybridLarge)  # of ReLU, and of GELU
# Keys and values of fewer pixels, and of all; a block behind each.
ROWS = (
    v4.Block(16, 2, fused=True),
    v4.universal(3, 5, 24, 2, stride=2),
    v4.Block(24, heads=2, depth=8, kernel=3),
    v4.universal(3, 0, 24),
    v4.Block(32, heads=4, depth=16, kernel=0),  # without a skip
    v4.universal(3, 3, 32, 2, stride=2),
    v4.Block(32, heads=4, depth=16, kernel=0),
)
ROUNDING = 1e-5  # of probabilities, behind 25 convolutions in float32


def build(builder=MobileNetV4HybridMedium, size=(64, 96), **options):
    return builder((*size, 3), **{"alpha": 0.5, "classes": 5, "blocks": ROWS, **options})


def images(count=2, size=(64, 96)):
    return np.random.default_rng(0).uniform(-1, 1, (count, *size, 3)).astype("float32")


@pytest.fixture(scope="module", params=BUILDERS, ids=["relu", "gelu"])
def model(request):
    keras.utils.set_random_seed(0)
    made = build(request.param)
    settle(made, images(4))
    assert np.asarray(made(images())).std(axis=0).max() > 0.01  # the images differ to it
    return made


def test_attention_is_a_softmax_of_products_in_each_head():
    random = np.random.default_rng(0)
    queries, keys, values = (
        random.normal(size=(2, *s)) for s in [(3, 5, 12), (2, 2, 4), (2, 2, 4)]
    )
    found = np.asarray(MultiQueryAttention(dtype="float64")([queries, keys, values]))
    for head in range(3):
        asked = queries[..., 4 * head : 4 * head + 4].reshape(2, 15, 4)
        products = asked @ keys.reshape(2, 4, 4).transpose(0, 2, 1) / 2  # the root of 4 channels
        shares = np.exp(products) / np.exp(products).sum(-1, keepdims=True)
        answers = (shares @ values.reshape(2, 4, 4)).reshape(2, 3, 5, 4)
        np.testing.assert_allclose(found[..., 4 * head : 4 * head + 4], answers, atol=1e-12)
    first = [x.transpose(0, 3, 1, 2) for x in (queries, keys, values)]
    turned = MultiQueryAttention("channels_first", dtype="float64")(first)
    np.testing.assert_array_equal(np.asarray(turned).transpose(0, 2, 3, 1), found)


def test_gelu_of_numpy_is_that_of_the_error_function():
    x = np.linspace(-9, 9, 10_007)  # beyond the table's ends, too
    expected = [value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x]
    np.testing.assert_allclose(activated("gelu", x), expected, rtol=0, atol=1e-10)


def test_arguments_are_those_of_the_convolutional_nets():
    known = inspect.signature(MobileNetV4ConvSmall).parameters.keys()
    assert all(inspect.signature(builder).parameters.keys() == known for builder in BUILDERS)


@pytest.mark.parametrize("kind", ["medium", "large"])
def test_whole_net_is_found_by_its_arrays(kind):
    known = family(f"mobilenet_v4_hybrid_{kind}")
    net = known.network(alpha=0.75)
    origin = known.recognise(net.arrays())
    assert (origin.net, origin.alpha) == (known.name, 0.75)
    assert net.by_name.keys() - {"input_1"} <= known.describe(net.by_name).by_name.keys()


def test_half_precision_computes_about_the_same(model):
    keras.config.set_dtype_policy("bfloat16")
    try:
        half = build(BUILDERS["large" in model.name])
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(model.get_weights())
    # bfloat16 has eight bits.
    found = np.asarray(half(images()), np.float32)
    np.testing.assert_allclose(found, model(images()), atol=0.03)


def test_files_of_whole_models_give_the_model_back(model, tmp_path, monkeypatch):
    expected = np.asarray(model(images()))
    model.save(tmp_path / "plain.keras")
    save_model(model, tmp_path / "ours.keras")
    plain = keras.saving.load_model(tmp_path / "plain.keras")
    monkeypatch.delitem(keras.saving.get_custom_objects(), REGISTERED_ATTENTION)
    for opened in (plain, load_model(tmp_path / "ours.keras")):  # in a process that built none, too
        np.testing.assert_array_equal(opened(images()), expected)


def test_graph_without_keras_computes_what_keras_does(model):
    found = reference_outputs(graph_of_model(model), images())
    np.testing.assert_allclose(found, model(images()), atol=ROUNDING)


def test_folding_leaves_the_batch_norms_before_attention_alone(model):
    folded = fold_batch_norm(model)  # a warning would be an error
    np.testing.assert_allclose(folded(images()), model(images()), atol=ROUNDING)
    norms = [x.name for x in folded.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert norms == ["attention_2_bn", "attention_4_bn", "attention_6_bn"]


@pytest.mark.parametrize("name", ["m.tflite", "m.onnx", "m.xml"])
def test_each_runtime_computes_what_keras_does(model, tmp_path, name):
    file = tmp_path / name
    export(model, file)
    with Predictor(file) as predictor:
        found = predictor.predict(((images() + 1) * 127.5).round().astype("uint8"))
    pixels = ((images() + 1) * 127.5).round() / np.float32(127.5) - 1
    np.testing.assert_allclose(found, model(pixels), atol=ROUNDING)


# Noise makes probabilities differ by little more than what 25 rounded layers add; in a net whose
# attention is wrong all of them do.
@pytest.mark.parametrize(("name", "most"), [("m.tflite", 0.15), ("m.xml", 0.3)])
def test_int8_is_near(model, tmp_path, name, most):
    report = export(model, tmp_path / name, quantize="int8", calibration=images(16))
    assert report.difference.rms_error < most


@pytest.mark.parametrize("name", ["any.onnx", "any.xml"])
def test_runtimes_take_images_of_any_size(tmp_path, name):
    model = randomise(build(size=(None, None)))
    export(model, tmp_path / name)
    with Predictor(tmp_path / name) as predictor:
        found = predictor.predict(np.full((1, 64, 32, 3), 99, "uint8"))
    np.testing.assert_allclose(found, model(np.full((1, 64, 32, 3), 99 / 127.5 - 1)), atol=ROUNDING)


def test_a_tflite_file_is_for_one_size(tmp_path):
    with pytest.raises(ValueError, match="of a net with attention is for images of one size"):
        export(build(size=(None, None)), tmp_path / "m.tflite")


@pytest.mark.parametrize("name", ["m.tflite", "m.onnx"])
def test_weights_are_not_read_from_a_runtimes_file(tmp_path, name):
    export(build(), tmp_path / name)
    with pytest.raises(CheckpointError, match="its graph has attention, as MobileNetV4's hybrid"):
        inspect_weights(tmp_path / name)


@pytest.mark.parametrize("size", [(64, 96), (None, None)])
def test_strides_of_keys_and_values_are_not_the_images(size):
    model = build(size=size, blocks=(*ROWS, v4.universal(0, 3, 40, stride=2)), include_top=False)
    found = features(model)(images())
    assert {name: x.shape[1:3] for name, x in found.items()} == {
        "stride_4": (16, 24), "stride_8": (8, 12), "stride_16": (4, 6), "stride_32": (2, 3)
    }  # fmt: skip


def test_cam_is_to_first_order(model):
    activation_map = cam(model, np.full((64, 96, 3), 90, "uint8"))
    assert not activation_map.exact
    assert activation_map.array.mean() == pytest.approx(float(logits(model)), rel=1e-3)


def logits(model):
    """Return the largest logit of a grey image."""
    before = keras.Model(model.inputs[0], model.get_layer("logits_flatten").output)
    return np.max(before(np.full((1, 64, 96, 3), 90 / 127.5 - 1, "float32")))


def test_attention_is_drawn_and_summed_up(model, tmp_path):
    plot_model(model, tmp_path / "net.svg", compact=True)
    assert "attention, add" in (tmp_path / "net.svg").read_text()
    known = {"alpha": 0.5, "size": (64, 96), "classes": 5, "blocks": ROWS}
    kind = "large" if "large" in model.name else "medium"
    macs = sum(cost.macs for cost in layer_costs(net=f"mobilenet_v4_hybrid_{kind}", **known))
    assert f"MACs for one image: {macs:,}" in summary(model, costs=True)


def test_litert_takes_what_is_counted():
    blocks = (v4.universal(0, 3, 16, stride=2), v4.Block(16, heads=4, depth=16, kernel=0))
    net = {"alpha": 1.0, "blocks": blocks, "classes": 5}
    costs = layer_costs(net="mobilenet_v4_hybrid_medium", size=64, **net)
    arguments = {"input_shape": (64, 64, 3), "weights": "random", **net}
    weights = net_weights(Builder("mobilenet_v4_hybrid_medium", arguments))
    content = tflite_content(simplified(graph_of_net(weights)), batch=1)
    peak = peak_memory(costs)
    assert (peak.bytes, peak.layer) == (arena(content), "attention_1_attend")


def test_what_is_not_known_of_attention_is_refused():
    with pytest.raises(ValueError, match="`output_stride` must be 32 of a net with attention"):
        build(output_stride=16)
    with pytest.raises(ValueError, match="`runtime` must be 'litert' or 'minimal' of a net with"):
        peak_memory(layer_costs(net="mobilenet_v4_hybrid_medium"), runtime="tflite-micro")


@pytest.mark.parametrize(
    "block",
    [
        v4.Block(16, 2, heads=2, depth=8),  # it strides
        v4.Block(16, heads=2),
        v4.Block(16, depth=8),
        v4.Block(16, heads=2, depth=8, start=3),
        v4.Block(16, heads=2, depth=8, fused=True),
        v4.Block(16, heads=-1, depth=8),
    ],
    ids=str,
)
def test_attention_of_which_no_net_can_be_made_is_refused(block):
    with pytest.raises(ValueError, match="`blocks` must be"):
        build(blocks=[block])


@pytest.mark.builds
def test_whole_way_from_tuning_to_a_file_that_answers(tmp_path):
    write_shapes(tmp_path / "images", 8)
    keras.utils.set_random_seed(0)
    base = build(size=(64, 64), include_top=False)
    settle(base, images(4, (64, 64)))
    save_weights(base, tmp_path / "net.safetensors")
    net = {"net": "mobilenet_v4_hybrid_medium", "alpha": 0.5, "blocks": ROWS}
    finetune(
        tmp_path / "images", size=64, out=tmp_path / "run", validation=None,
        weights=tmp_path / "net.safetensors", train_from="block_4", views=1, epochs=1, **net,
    )  # fmt: skip
    tuned = tmp_path / "run" / "model.keras"
    assert export(tuned, tmp_path / "m.tflite").difference.top1_agreement == 1
    pixels = np.stack([np.asarray(Image.fromarray(x).resize((64, 64))) for x in shapes(2)[0]])
    expected = np.asarray(load_model(tuned)(pixels / np.float32(127.5) - 1))
    assert expected.std(axis=0).max() > 0.01
    with Predictor(tmp_path / "m.tflite") as predictor:
        np.testing.assert_allclose(predictor.predict(pixels), expected, atol=1e-4)

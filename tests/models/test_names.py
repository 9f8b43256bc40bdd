"""Names: Keras' own where Keras counts, so that nothing collides where Keras' would not."""

import keras
import numpy as np
import pytest

from keras_mobilenet import MobileNet, replace_top
from keras_mobilenet.display.boxes import boxes_and_links
from keras_mobilenet.nets.families.v1 import BLOCKS
from keras_mobilenet.transfer.activation_maps import cam
from keras_mobilenet.transfer.boundaries import fingerprint, pooled

layers = keras.layers


@pytest.fixture(autouse=True)
def fresh_process():
    """Keras' counters as they begin."""
    keras.utils.clear_session(free_memory=False)


def small(**arguments):
    fixed = {"input_shape": (32, 32, 3), "alpha": 0.25, "weights": None, "blocks": BLOCKS[:2]}
    return MobileNet(**fixed | arguments)


def names(model, *kinds):
    return [layer.name for layer in model.layers if type(layer).__name__ in kinds]


@pytest.mark.backends
def test_inputs_and_pools_are_counted_as_keras_counts():
    first, second = small(), small(include_preprocessing=True)
    counted = ("InputLayer", "Rescaling", "GlobalAveragePooling2D")
    assert names(first, *counted) == ["input_1", "global_average_pooling2d"]
    assert names(second, *counted) == ["input_2", "rescaling", "global_average_pooling2d_1"]
    assert first.inputs[0].name == "input_1"  # so is the argument of a SavedModel's signature
    third = small(include_preprocessing=True, include_top=False, pooling="max")
    assert names(third, *counted) == ["input_3", "rescaling_1"]
    keras.utils.clear_session(free_memory=False)
    assert [x.name for x in small().layers] == [x.name for x in first.layers]


def test_prefixed_names_are_fixed():
    small(include_preprocessing=True)
    for _ in range(2):
        net = small(name_prefix="left_", include_preprocessing=True)
        found = names(net, "InputLayer", "Rescaling", "GlobalAveragePooling2D")
        assert found == ["left_input_1", "left_rescaling", "left_global_average_pooling2d"]
    assert names(small(), "InputLayer") == ["input_2"]


def test_layers_made_afterwards_are_named_as_behind_keras_builder():
    def later_names(build):
        keras.utils.clear_session(free_memory=False)
        build((32, 32, 3), 0.25, weights=None)
        made = (layers.InputLayer((4, 4, 1)), layers.GlobalAveragePooling2D(), layers.ReLU())
        return [x.name for x in (*made, layers.Conv2D(1, 1), layers.Dropout(0.5))]

    assert later_names(MobileNet) == later_names(keras.applications.MobileNet)


def test_users_own_pool_stands_beside_the_nets_in_either_order():
    net = small()
    own = layers.GlobalAveragePooling2D()(net.get_layer("conv_pw_1_relu").output)
    assert len(keras.Model(net.input, [net.output, own]).outputs) == 2
    x = keras.Input((32, 32, 3))
    own = layers.GlobalAveragePooling2D()(x)
    net = small(input_tensor=x, include_top=False, pooling="avg")
    assert len(keras.Model(x, [net.output, own]).outputs) == 2
    scaled = layers.Rescaling(1 / 255)(x)
    net = small(input_tensor=x, include_preprocessing=True)
    assert len(keras.Model(x, [net.output, scaled]).outputs) == 2


@pytest.mark.parametrize("ours_first", [True, False])
def test_net_stands_beside_another_of_keras_in_one_model(ours_first):
    def theirs():
        return keras.applications.MobileNetV3Small(
            (32, 32, 3), 0.35, weights=None, include_top=False, pooling="avg", minimalistic=True
        )

    def ours():
        return small(include_top=False, pooling="avg", include_preprocessing=True)

    nets = [build() for build in ([ours, theirs] if ours_first else [theirs, ours])]
    both = keras.Model([net.input for net in nets], [net.output for net in nets])
    assert len(both.inputs) == 2


def test_inputs_of_two_nets_in_one_graph_do_not_collide():
    nets = [small(name_prefix=prefix) for prefix in ("", "right_")]
    nets.append(keras.Model((x := keras.Input((32, 32, 3))), small()(x)))
    both = keras.Model([net.input for net in nets], [net.output for net in nets])
    assert len({layer.name for layer in both.layers}) == len(both.layers)


def test_second_net_of_a_process_is_known_by_its_layers():
    small()
    layers.GlobalAveragePooling2D(name="global_average_pooling2d")
    net = small(classes=3)
    assert pooled(net) is net.layers[-5].output
    boxes, _ = boxes_and_links(net)
    assert [box.part for box in boxes[-2:]] == ["block_2", "top"]
    assert len(boxes[-1].items) == 5
    image = np.zeros((32, 32, 3), np.uint8)
    assert cam(replace_top(net, 4), image, class_=1).array.shape == (8, 8)


def test_own_pool_of_a_tops_name_is_not_drawn_into_the_top():
    net = small(input_tensor=keras.Input((32, 32, 3), name="x"))
    other = layers.GlobalAveragePooling2D()(net.get_layer("conv_pw_1_relu").output)
    boxes, _ = boxes_and_links(keras.Model(net.input, [net.output, layers.Dense(2)(other)]))
    assert [[item.kind for item in box.items] for box in boxes if box.part == "top"] == [
        ["GlobalAveragePooling2D", "Dropout", "Conv2D", "Reshape", "Activation"]
    ]


def test_fingerprint_is_that_of_the_values_whatever_the_process_made_before():
    first, second = small(), small()
    second.set_weights(first.get_weights())
    assert fingerprint(first) == fingerprint(second)

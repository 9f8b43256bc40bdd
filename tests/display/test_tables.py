"""`summary`: the reference layout, complete whatever the model."""

import json
import re

import keras
import numpy as np
import pytest

from keras_mobilenet import MobileNet, preprocess_input, summary
from keras_mobilenet.display.summaries import layer_rows
from keras_mobilenet.display.text_tables import text_table


@pytest.fixture(scope="module")
def mobilenet():
    keras.utils.clear_session(free_memory=False)  # names as in a fresh process
    return MobileNet(weights=None)


@pytest.fixture(scope="module")
def nested():
    base = MobileNet((96, 96, 3), alpha=0.25, include_top=False, pooling="avg", weights=None)
    base.trainable = False
    head = keras.layers.Dense(3, name="a_head_with_a_name_that_is_much_longer_than_any_column")
    return keras.Sequential([base, head], name="flowers")


def folded(text):
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def test_summary_equals_the_reference_listing(mobilenet, shared_data):
    listing = shared_data.parent / "reference" / "summary_mobilenet_1.00_224.txt"
    assert folded(summary(mobilenet)) == folded(listing.read_text())


def test_summary_has_a_line_a_layer_and_the_totals(mobilenet):
    lines = folded(summary(mobilenet))
    assert lines[0] == 'Model: "mobilenet_1.00_224"'
    assert "input_1 (InputLayer) [(None, 224, 224, 3)] 0" in lines
    assert "conv_preds (Conv2D) (None, 1, 1, 1000) 1025000" in lines
    assert len(lines) == len(mobilenet.layers) + 9
    assert lines[-4:-1] == [
        "Total params: 4,253,864",
        "Trainable params: 4,231,976",
        "Non-trainable params: 21,888",
    ]


@pytest.mark.parametrize("line_length", [0, 20, 80, 120, 300])
def test_columns_are_never_cut(nested, line_length):
    text = summary(nested, line_length=line_length, costs=True, show_trainable=True)
    assert "a_head_with_a_name_that_is_much_longer_than_any_column (Dense)" in text
    assert max(map(len, text.splitlines())) >= line_length


def test_columns_line_up(mobilenet):
    lines = summary(mobilenet, costs=True).splitlines()
    column = lines[2].index("Output Shape")
    assert all(line[column - 1] == " " and line[column] in "([" for line in lines[4:-7])


def test_frozen_base_counts_as_not_trainable(nested):
    lines = folded(summary(nested, show_trainable=True))
    assert lines[4] == "mobilenet_0.25_96 (Functional) (None, 256) 218544 no"
    assert lines[5].endswith("(Dense) (None, 3) 771 yes")
    assert lines[-3:-1] == ["Trainable params: 771", "Non-trainable params: 218,544"]


def test_partly_frozen_model_trains_in_part():
    base = MobileNet((96, 96, 3), alpha=0.25, include_top=False, weights=None)
    base.get_layer("conv1").trainable = False
    model = keras.Sequential([base])
    rows = layer_rows(model, expand_nested=True)
    assert [row.trains for row in rows[:4]] == ["in part", "", "no", "yes"]
    assert [row.depth for row in rows[:4]] == [0, 1, 1, 1]


def test_nested_layers_are_shown_on_demand(nested):
    lines = summary(nested, expand_nested=True).splitlines()
    assert "  conv_pw_13_relu (ReLU)" in "\n".join(lines)
    assert len(lines) == len(nested.layers) + len(nested.layers[0].layers) + 9


def test_costs_are_those_of_the_net(mobilenet, nested):
    assert folded(summary(mobilenet, costs=True))[-2] == "MACs for one image: 568,740,352"
    rows = layer_rows(nested)
    assert rows[0].macs == sum(row.macs for row in layer_rows(nested.layers[0]))
    assert rows[1].macs == 256 * 3


def test_unknown_sizes_leave_macs_unknown():
    model = MobileNet((None, None, 3), alpha=0.25, include_top=False, weights=None)
    lines = folded(summary(model, costs=True))
    assert lines[-2] == "MACs for one image: ?"
    assert "conv1 (Conv2D) (None, None, None, 8) 216 ? ?" in lines


def test_channels_first_counts_the_same_macs():
    keras.config.set_image_data_format("channels_first")
    try:
        model = MobileNet((3, 224, 224), weights=None)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert sum(row.macs for row in layer_rows(model)) == 568_740_352


def test_markdown_is_one_table_and_the_totals(mobilenet):
    text = summary(mobilenet, format="markdown", costs=True)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == len(mobilenet.layers) + 2
    assert len({row.count("|") for row in rows}) == 1
    assert "- Total params: 4,253,864" in text


def test_json_holds_numbers(mobilenet):
    content = json.loads(summary(mobilenet, format="json"))
    assert content["model"] == mobilenet.name
    assert content["macs"] == 568_740_352
    assert sum(layer["params"] for layer in content["layers"]) == content["total_params"]
    assert content["layers"][1]["output_shape"] == [None, 112, 112, 32]


def test_shared_layer_costs_as_often_as_it_is_called():
    x = keras.Input((4, 4, 1))
    conv = keras.layers.Conv2D(1, 1, name="twice")
    model = keras.Model(x, conv(keras.layers.MaxPooling2D()(conv(x))))
    assert "twice (Conv2D) (None, 4, 4, 1), (None, 2, 2, 1) 2 20 ?" in folded(
        summary(model, costs=True)
    )
    half = keras.Model(x, model.layers[1].output)  # the same layer, called once in this model
    assert "twice (Conv2D) (None, 4, 4, 1) 2 16 64" in folded(summary(half, costs=True))


def test_layer_with_several_outputs_shows_the_shape_of_each():
    x = keras.Input((4, 4))
    inner = keras.Model(x, [keras.layers.ReLU()(x), keras.layers.Flatten()(x)], name="two")
    y = keras.Input((4, 4))
    model = keras.Model(y, inner(y))
    assert "two (Functional) (None, 4, 4), (None, 16) 0" in folded(summary(model))
    assert layer_rows(model)[1].output_shape is None


def rows_of_keras(model):
    """What `model.summary()` prints: name, class, shape and parameters of each row; the totals."""
    lines = []
    model.summary(print_fn=lines.append, line_length=200)
    text = "".join(lines).splitlines()
    cells = [[cell.strip() for cell in re.split("[|│┃]", line)] for line in text]
    rows = [row[1:4] for row in cells if len(row) > 4 and row[1] != "Layer (type)"]
    totals = [row[0].partition(" (")[0] for row in cells if "params: " in row[0]]
    return [[a, b, c.replace(",", "")] for a, b, c in rows], totals


def rows_of_ours(model):
    text = summary(model, format="markdown")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if "|" in line
    ]
    totals = [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]
    return [[a, b.strip("[]"), c] for a, b, c in rows[2:]], totals


def preprocessed():
    x = keras.Input((32, 32, 3))
    net = MobileNet(input_tensor=preprocess_input(x), alpha=0.25, weights=None, classes=2)
    return keras.Model(x, keras.ops.concatenate([net.output, net.output]))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.net = MobileNet((32, 32, 3), alpha=0.25, weights=None, include_top=False)
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.top = keras.layers.Dense(2)

    def call(self, x):
        return self.top(self.pool(self.net(x)))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 32, 32, 3)))
    return model


def trained():
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(2)(x))
    model.compile("adam", "mse")
    model.fit(np.zeros((1, 4)), np.zeros((1, 2)), verbose=0)
    return model


@pytest.mark.parametrize("make", [preprocessed, subclassed, trained])
def test_rows_and_totals_are_those_of_keras_own_summary(make, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")  # for `model.summary()`, which wraps what is longer
    model = make()
    (rows, totals), (their_rows, their_totals) = rows_of_ours(model), rows_of_keras(model)
    assert rows == their_rows
    assert totals == their_totals
    summary(model, costs=True, show_trainable=True, expand_nested=True)


def test_operations_between_layers_are_rows():
    rows = {row.kind: row for row in layer_rows(preprocessed())}
    assert rows["TrueDivide"].output_shape == (None, 32, 32, 3)
    assert rows["TrueDivide"].activation_bytes == 32 * 32 * 3 * 4
    assert (rows["Subtract"].params, rows["Subtract"].macs, rows["Subtract"].trains) == (0, 0, "")
    x = keras.Input((4, 4))
    assert layer_rows(keras.Model(x, keras.ops.matmul(x, x)))[1].macs is None


def test_users_own_layer_that_knows_no_shape_keeps_the_question_mark():
    class Own(keras.layers.Layer):
        def compute_output_shape(self, input_shape):
            raise NotImplementedError

        def build(self, input_shape):
            self.kernel = self.add_weight(shape=(2,))

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.own = Own(name="own")

        def call(self, x):
            return self.own(x)

        def build(self, input_shape):
            self.own.build(input_shape)

    model = Model()
    model.build((None, 2))
    model.built = True
    assert "own (Own) ? 2" in folded(summary(model))


def test_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="Model 'empty' is not built"):
        summary(keras.Sequential([keras.layers.Dense(1)], name="empty"))


def test_unknown_format_is_named(mobilenet):
    with pytest.raises(ValueError, match="one of text, markdown, json. Received: format='html'"):
        summary(mobilenet, format="html")


def test_text_table_is_flush():
    table = text_table(["a", "long"], [["1", "2"], ["333", "4"]])
    assert table.splitlines() == ["a    long", "1       2", "333     4"]

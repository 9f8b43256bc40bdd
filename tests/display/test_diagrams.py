"""Images of models: what is drawn, by which program, and what happens when it cannot be."""

import html
import inspect
import re
import shutil
import stat
import sys
from xml.etree import ElementTree

import keras
import pytest
from keras import layers
from PIL import Image

from keras_mobilenet.display import compact_diagrams, diagrams
from keras_mobilenet.display.boxes import boxes_and_links
from keras_mobilenet.display.diagrams import plot_model
from keras_mobilenet.mobilenet import MobileNet, preprocess_input
from keras_mobilenet.mobilenet_v2 import MobileNetV2
from keras_mobilenet.mobilenet_v3 import MobileNetV3Small
from keras_mobilenet.nets.costs.layers import layer_costs
from keras_mobilenet.nets.families import v1, v2, v3

A4 = (210 / 25.4, 297 / 25.4)  # inches
SVG = "{http://www.w3.org/2000/svg}"
BLOCKS = [f"block {i}" for i in range(1, len(v1.BLOCKS) + 1)]
SIZE_64 = "64 \u00d7 64 \u00d7 3"
needs_sh = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")


@pytest.fixture(autouse=True)
def path_of_commands(tmp_path_factory, monkeypatch):
    """Empty the PATH, so that no installed Graphviz is found; return its only folder."""
    folder = tmp_path_factory.mktemp("path")
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def fake_dot(path_of_commands):
    """Return a function that puts a `dot` of the given shell commands on the PATH."""

    def make(commands):
        path = path_of_commands / "dot"
        path.write_text(f"#!/bin/sh\n{commands}\n")
        path.chmod(stat.S_IRWXU)
        return str(path)

    return make


@pytest.fixture(scope="module")
def net():
    return MobileNet(weights=None, alpha=0.25)


@pytest.fixture(scope="module")
def base():
    return MobileNet(weights=None, alpha=0.25, include_top=False, input_shape=(64, 64, 3))


@pytest.fixture(scope="module")
def small():
    return keras.Sequential([keras.Input((4,)), layers.Dense(2, name="dense_a")], name="small")


# The full drawing


def test_the_parameters_and_defaults_are_those_of_keras():
    theirs = list(inspect.signature(keras.utils.plot_model).parameters.values())[:-1]
    *ours, compact = inspect.signature(plot_model).parameters.values()
    assert [(p.name, p.default, p.kind) for p in ours] == [
        (p.name, p.default, p.kind) for p in theirs
    ]
    assert compact.kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"show_shapes": True},
        {"show_dtype": True},
        {"show_layer_names": True},
        {"rankdir": "LR"},
        {"expand_nested": True},
        {"dpi": 70},
        {"show_layer_activations": True},
        {"show_trainable": True},
        {"splines": "curved"},
    ],
)
def test_the_drawing_is_that_of_keras(net, tmp_path, monkeypatch, options):
    sources = []
    monkeypatch.setattr(diagrams, "_render", lambda source, *_: sources.append(source))
    model = keras.Sequential([net, layers.Dense(2)])
    plot_model(model, tmp_path / "model.dot", **options)
    options = {"show_layer_names": False, **options}  # a default in which model_to_dot differs
    assert sources == [keras.utils.model_to_dot(model, **options).to_string()]


def plain():
    units = [layers.Dense(4, activation="relu"), layers.Dense(1, activation="sigmoid")]
    return keras.Sequential([keras.Input((3,)), *units])


def residual(width=4, inner=None):
    inputs = keras.Input((3,))
    x = layers.Dense(width, activation="relu", trainable=False)(inputs)
    x += inner(x) if inner else layers.Dense(width)(layers.Dense(width)(x))
    return keras.Model(inputs, layers.Dense(1)(layers.Dropout(0.5)(x)))


def subclassed():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = layers.Dense(3), layers.Dense(1)

        def call(self, x):
            return self.second(self.first(x))

    model = Own()
    model(keras.ops.zeros((1, 3)))
    return model


def nested():
    inputs = keras.Input((3,))
    return residual(3, keras.Model(inputs, layers.Dense(3)(inputs)))


def split():
    class Split(keras.Layer):
        def call(self, x):
            return list(keras.ops.split(x, 2, axis=1))

    inputs = keras.Input((2,))
    both = [layers.Dense(2)(x) for x in Split()(inputs)]
    return keras.Model(inputs, keras.ops.concatenate(both, axis=1))


SHOWN = ("show_shapes", "show_dtype", "show_layer_names", "show_layer_activations")


@pytest.mark.parametrize("make", [plain, residual, subclassed, nested, split])
def test_kinds_of_models_in_keras_own_test_are_drawn_as_keras_draws_them(
    make, tmp_path, monkeypatch
):
    sources = []
    monkeypatch.setattr(diagrams, "_render", lambda source, *_: sources.append(source))
    model = make()
    everything = dict.fromkeys((*SHOWN, "show_trainable"), True)
    choices = [dict.fromkeys(SHOWN[:count], True) for count in range(len(SHOWN) + 1)]
    choices += [everything, everything | {"rankdir": "LR"}]
    choices += [{"show_layer_activations": True, "show_trainable": True}]
    for options in choices:
        plot_model(model, tmp_path / "model.dot", expand_nested=True, **options)
        theirs = {"show_layer_names": False, "expand_nested": True, **options}
        assert sources.pop() == keras.utils.model_to_dot(model, **theirs).to_string()
    plot_model(model, tmp_path / "model.dot", compact=True)
    assert sources.pop().startswith("digraph")


def test_an_image_has_every_layers_name(net, tmp_path):
    plot_model(net, tmp_path / "model.svg", show_layer_names=True)
    words = set(re.findall(r">([^<]+)</text>", (tmp_path / "model.svg").read_text()))
    assert {layer.name for layer in net.layers} <= words


@pytest.mark.parametrize("model", ["net", "small"])
@pytest.mark.parametrize("compact", [False, True])
def test_images_are_drawn_without_an_installed_graphviz(request, tmp_path, model, compact):
    assert shutil.which("dot") is None
    assert shutil.which("graphviz-pure") is None  # nor need the environment be activated
    model = request.getfixturevalue(model)
    for name in ("model.png", "model.svg", "model.jpg", "model", "model.PNG"):
        plot_model(model, tmp_path / name, compact=compact, dpi=30)
    for name, image_format in (("model.png", "PNG"), ("model", "PNG"), ("model.PNG", "PNG"),
                                 ("model.jpg", "JPEG")):  # fmt: skip
        with Image.open(tmp_path / name) as image:
            assert image.format == image_format
    assert ElementTree.parse(tmp_path / "model.svg").getroot().tag == f"{SVG}svg"


def test_the_default_file_is_that_of_keras(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plot_model(small, dpi=30)
    assert [path.name for path in tmp_path.iterdir()] == ["model.png"]


def test_nothing_is_printed(small, tmp_path, capfd):
    plot_model(small, tmp_path / "model.png", compact=True)
    with pytest.raises(ValueError, match="format"):
        plot_model(small, tmp_path / "model.pdf")
    assert capfd.readouterr() == ("", "")


# What is returned


def test_a_notebook_is_given_the_image(small, tmp_path):
    display = pytest.importorskip("IPython.display")
    image = plot_model(small, tmp_path / "model.png", dpi=30)
    assert isinstance(image, display.Image)
    assert image.format == "png"
    assert image.data == (tmp_path / "model.png").read_bytes()
    assert isinstance(plot_model(small, tmp_path / "model", dpi=30), display.Image)
    drawing = plot_model(small, tmp_path / "model.svg")
    assert isinstance(drawing, display.SVG)
    assert "<svg" in drawing.data


def test_formats_that_notebooks_do_not_show_return_none(small, tmp_path):
    assert plot_model(small, tmp_path / "model.dot") is None
    assert (tmp_path / "model.dot").read_text().startswith("digraph")


def test_without_ipython_none_is_returned(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    assert plot_model(small, tmp_path / "model.png", dpi=30) is None
    assert (tmp_path / "model.png").is_file()


# Which program draws


@needs_sh
def test_an_installed_graphviz_is_preferred(small, tmp_path, fake_dot):
    fake_dot('read first_line; echo "$1 $first_line" > "$3"')
    plot_model(small, tmp_path / "model.dot", compact=True)
    assert (tmp_path / "model.dot").read_text().startswith("-Tdot digraph {")


@needs_sh
@pytest.mark.parametrize(
    "commands", ["exit 1", 'echo "Format: \\"png\\" not recognized. Use one of:" >&2; exit 1']
)
def test_where_an_installed_graphviz_fails_ours_draws(small, tmp_path, fake_dot, commands):
    fake_dot(commands)
    plot_model(small, tmp_path / "model.png", dpi=30)
    with Image.open(tmp_path / "model.png") as image:
        assert image.format == "PNG"


def test_without_any_program_the_error_says_what_to_install(small, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: None)
    with pytest.raises(ImportError, match="pip install graphviz-pure"):
        plot_model(small, tmp_path / "model.png")
    assert list(tmp_path.iterdir()) == []


# What goes wrong


@pytest.mark.parametrize("compact", [False, True])
def test_a_model_that_is_not_built_is_refused(tmp_path, compact):
    model = keras.Sequential([layers.Dense(2)], name="unbuilt")
    with pytest.raises(ValueError, match="'unbuilt' is not built"):
        plot_model(model, tmp_path / "model.png", compact=compact)


@pytest.mark.parametrize("name", ["model.pdf", "model.tiff", "model.v2"])
def test_an_unknown_format_names_the_known_ones(small, tmp_path, name):
    with pytest.raises(
        ValueError, match=r"must end in .* png, .*svg.*Installing Graphviz.*PDF"
    ) as e:
        plot_model(small, tmp_path / name)
    assert str(e.value).endswith(f"Received: to_file={str(tmp_path / name)!r}")
    assert list(tmp_path.iterdir()) == []


@needs_sh
def test_who_has_graphviz_is_not_told_to_install_it(small, tmp_path, fake_dot):
    fake_dot('echo "Format: \\"tiff\\" not recognized. Use one of: pdf png:gd webp" >&2; exit 1')
    with pytest.raises(ValueError, match=r"written: .*pdf, .*svg, webp, ") as caught:
        plot_model(small, tmp_path / "model.tiff")
    assert "Installing" not in str(caught.value)
    assert "png:gd" not in str(caught.value)


def test_a_missing_folder_is_named(small, tmp_path):
    path = tmp_path / "missing" / "model.png"
    with pytest.raises(FileNotFoundError, match=r"missing is no folder\.\nMake the folder first"):
        plot_model(small, path)


def test_a_folder_is_no_file(small, tmp_path):
    with pytest.raises(IsADirectoryError, match=r"is a folder\.\nPass a file"):
        plot_model(small, tmp_path)


def test_an_unwritable_folder_is_named(small, tmp_path, monkeypatch):
    monkeypatch.setattr(diagrams.os, "access", lambda *_: False)  # file modes do not bind root
    found = re.escape(f"the folder {tmp_path} is not writable.\nChoose another")
    with pytest.raises(PermissionError, match=found):
        plot_model(small, tmp_path / "model.png")


@needs_sh
@pytest.mark.parametrize(
    ("commands", "found"),
    [
        ('echo half > "$3"; echo "out of ink" >&2; exit 1', "dot: out of ink"),
        ("exit 3", "dot: exit status 3"),
    ],
)
@pytest.mark.parametrize("before", [None, "the image of yesterday"])
def test_a_failed_drawing_leaves_all_as_it_was(
    small, tmp_path, fake_dot, monkeypatch, commands, found, before
):
    renderer = fake_dot(commands)
    monkeypatch.setattr(diagrams, "_renderers", lambda: [renderer])
    path = tmp_path / "model.png"
    if before:
        path.write_text(before)
    with pytest.raises(OSError, match=rf"cannot be drawn\. {found}\nTry another format"):
        plot_model(small, path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_a_program_that_does_not_start_is_an_error(small, tmp_path, monkeypatch):
    monkeypatch.setattr(diagrams, "_renderers", lambda: [str(tmp_path / "dot")])
    with pytest.raises(OSError, match=r"cannot be drawn\. dot: .*No such file"):
        plot_model(small, tmp_path / "model.png")
    assert list(tmp_path.iterdir()) == []


# The compact drawing


def drawn(model, path, **options):
    """Return the texts of a compact drawing: the caption's, then a list for each box."""
    plot_model(model, path / "compact.svg", compact=True, **options)
    root = ElementTree.parse(path / "compact.svg").getroot()
    graph = root.find(f"{SVG}g")
    nodes = [g for g in graph.findall(f"{SVG}g") if g.get("class") == "node"]
    nodes.sort(key=lambda node: int(node.find(f"{SVG}title").text))  # in the model's order
    return words(graph.findall(f"{SVG}text")), [words(node.iter(f"{SVG}text")) for node in nodes]


def words(elements):
    texts = [element.text.strip() for element in elements]
    return [text for text in texts if text]  # a blank is there for the height of its line


def chain(model):
    boxes, links = boxes_and_links(model)
    return links == [(i, i + 1) for i in range(len(boxes) - 1)]


def number(text):
    """Return the number that "2.72 k params" stands for."""
    digits, *unit, _ = text.split()
    return float(digits) * {"k": 1e3, "M": 1e6, "G": 1e9}[unit[0]] if unit else int(digits)


def by_part(**net):
    costs = layer_costs(**net)
    parts = dict.fromkeys(cost.part for cost in costs)
    return [[cost for cost in costs if cost.part == part] for part in parts]


@pytest.mark.parametrize(
    "arguments",
    [
        {"alpha": 0.25},
        {"alpha": 0.5, "depth_multiplier": 2, "classes": 10},
        {"alpha": 0.25, "include_top": False, "input_shape": (96, 65, 3)},
    ],
)
def test_boxes_have_the_shapes_and_costs_of_the_specification(tmp_path, arguments):
    model = MobileNet(weights=None, **arguments)
    _, boxes = drawn(model, tmp_path)
    known = {key: value for key, value in arguments.items() if key != "input_shape"}
    parts = by_part(**known, size=model.input_shape[1:3])
    assert len(boxes) == len(parts)
    for texts, costs in zip(boxes, parts, strict=True):
        assert texts[0] == costs[0].part.replace("_", " ")
        assert " \u00d7 ".join(map(str, costs[-1].output_shape)) in texts
        if costs[0].part == "input":
            assert len(texts) == 2  # it costs nothing
        else:
            params, macs = map(number, texts[-2:])
            assert params == pytest.approx(sum(cost.params for cost in costs), rel=0.005)
            assert macs == pytest.approx(sum(cost.macs for cost in costs), rel=0.005)


def test_the_caption_has_the_exact_totals(net, tmp_path):
    (name, facts), _ = drawn(net, tmp_path)
    macs = sum(cost.macs for cost in layer_costs(0.25))
    assert name == net.name
    assert facts == (
        f"{net.count_params():,} params \u00b7 {macs:,} MACs \u00b7 input 224 \u00d7 224 \u00d7 3"
    )


def test_a_box_says_what_its_layers_do(net, tmp_path):
    _, boxes = drawn(net, tmp_path)
    said = {texts[0]: texts[1] for texts in boxes}
    assert said["stem"] == "conv 3x3 /2"
    assert said["block 1"] == "depthwise 3x3, pointwise 1x1"
    assert said["block 6"] == "depthwise 3x3 /2, pointwise 1x1"
    assert said["top"] == "average pool, pointwise 1x1, softmax"


def test_a_colour_stands_for_an_output_size(net, base):
    def fills(model):
        source = compact_diagrams.dot_source(model, rankdir="TB", dpi=72, show_trainable=False)
        return re.findall(r'bgcolor="(#\w+)"', source)

    whole, sizes = fills(net), [part[-1].output_shape[:2] for part in by_part(alpha=0.25)]
    assert len(set(zip(whole, sizes, strict=True))) == len(set(whole)) == len(set(sizes))
    own = fills(keras.Sequential([base, layers.Flatten()]))
    assert own[:-1] == whole[1:-1]
    assert own[-1] not in whole


@pytest.mark.parametrize(
    "arguments",
    [{"name_prefix": "left_"}, {"blocks": v1.FULL_BLOCKS}, {"output_stride": 8}],
)
def test_every_net_of_the_package_has_a_box_a_block(net, arguments):
    model = MobileNet(weights=None, alpha=0.25, **arguments)
    boxes, links = boxes_and_links(model)
    assert [box.part for box in boxes] == [box.part for box in boxes_and_links(net)[0]]
    assert links == [(i, i + 1) for i in range(len(boxes) - 1)]


def test_boxes_are_linked_in_a_chain(net):
    assert chain(net)


@pytest.mark.parametrize("own_top", [False, True])
def test_the_compact_image_fits_a_page(net, base, tmp_path, own_top):
    model = net
    if own_top:
        inputs = keras.Input((64, 64, 3))
        x = base(preprocess_input(layers.RandomFlip()(inputs)))
        x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
        model = keras.Model(inputs, layers.Dense(3)(layers.Dense(50, "relu")(x)))
    plot_model(model, tmp_path / "model.png", compact=True)
    with Image.open(tmp_path / "model.png") as image:
        assert all(n / 200 < limit for n, limit in zip(image.size, A4, strict=True))
        assert image.height / image.width > 1.4  # a column


def test_the_resolution_and_the_direction_can_be_chosen(net, tmp_path):
    plot_model(net, tmp_path / "coarse.png", compact=True, dpi=50)
    plot_model(net, tmp_path / "wide.png", compact=True, dpi=50, rankdir="LR")
    with Image.open(tmp_path / "coarse.png") as coarse, Image.open(tmp_path / "wide.png") as wide:
        assert coarse.height < 600
        assert wide.width > 10 * wide.height


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in "ab":
        keras.utils.clear_session(free_memory=False)
        model = keras.applications.MobileNet(weights=None, alpha=0.25, name="net")
        plot_model(model, tmp_path / f"{name}.svg", compact=True)
    plot_model(MobileNet(weights=None, alpha=0.25, name="net"), tmp_path / "c.svg", compact=True)
    images = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(images) == 1


def test_unknown_sizes_leave_macs_open(tmp_path):
    model = MobileNet(weights=None, alpha=0.25, include_top=False)
    (_, facts), boxes = drawn(model, tmp_path)
    assert "MACs depend on size" in facts
    assert "input ? \u00d7 ? \u00d7 3" in facts
    assert all(texts[-1] == "? MACs" for texts in boxes[1:])


def test_layers_of_no_known_kind_leave_macs_open(tmp_path):
    model = keras.Sequential([keras.Input((4, 3)), layers.LSTM(2)])
    (_, facts), [texts] = drawn(model, tmp_path)
    assert "MACs unknown" in facts
    assert texts[-1] == "? MACs"


def test_names_are_written_as_they_are(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="a<b>&c")], name="<&>")
    (name, _), [texts] = drawn(model, tmp_path)
    assert (name, texts[0]) == ("<&>", "a<b>&c")


def test_frozen_boxes_are_marked_on_request(tmp_path):
    model = MobileNet(weights=None, alpha=0.25)
    assert "frozen" not in str(drawn(model, tmp_path, show_trainable=True))
    for layer in model.layers[: model.layers.index(model.get_layer("conv_pw_2"))]:
        layer.trainable = False
    _, boxes = drawn(model, tmp_path, show_trainable=True)
    marks = {texts[0]: texts[1] for texts in boxes}
    assert marks["stem"] == marks["block 1"] == "frozen"
    assert marks["block 2"] == "partly frozen"
    assert "frozen" not in marks["block 3"]
    assert "frozen" not in str(drawn(model, tmp_path))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (5_599_999, "5.60 M"), (55_040_000, "55.0 M"),
     (568_740_352, "569 M"), (999_499, "999 k"), (999_500, "1.00 M"), (2_500_000_000, "2.50 G")],
)  # fmt: skip
def test_numbers_are_written_in_three_figures(value, text):
    assert compact_diagrams._short(value) == text


# Models around MobileNet


def titles(model):
    source = compact_diagrams.dot_source(model, rankdir="TB", dpi=72, show_trainable=False)
    return [html.unescape(name) for name in re.findall(r"<td [^>]*><b>([^<]*)</b>", source)]


def test_a_nested_mobilenet_is_opened(base, tmp_path):
    own = [layers.GlobalAveragePooling2D(), layers.Dropout(0.1), layers.Dense(3)]
    model = keras.Sequential([base, *own])
    (_, facts), boxes = drawn(model, tmp_path)
    assert [texts[0] for texts in boxes] == ["stem", *BLOCKS, "top"]
    assert boxes[-1][1] == "GlobalAveragePooling2D, Dropout, Dense"
    assert boxes[-1][2:] == ["3", "771 params", "768 MACs"]
    assert f"{model.count_params():,} params" in facts
    assert chain(model)


def test_mobilenets_are_found_however_deep(base):
    features = keras.Sequential([base, layers.GlobalAveragePooling2D()])
    model = keras.Sequential([features, layers.Dense(3)])
    assert titles(model) == ["stem", *BLOCKS, "top"]
    assert chain(model)


def test_what_comes_before_the_stem_joins_the_input(base, tmp_path):
    inputs = keras.Input((64, 64, 3))
    x = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)], name="vary")(inputs)
    model = keras.Model(inputs, layers.Flatten()(base(preprocess_input(x), training=False)))
    _, boxes = drawn(model, tmp_path)
    assert [texts[0] for texts in boxes] == ["input", "stem", *BLOCKS, "top"]
    assert boxes[0][1:] == ["vary, TrueDivide, Subtract", SIZE_64, "0 params", "0 MACs"]
    assert chain(model)


def test_an_own_top_on_the_nets_layers_is_one_box_whatever_its_names(base):
    x = layers.GlobalAveragePooling2D(name="global_average_pooling2d")(base.output)
    x = layers.Dropout(0.1, name="dropout")(x)
    model = keras.Model(base.input, layers.Dense(3, name="predictions")(x))
    assert titles(model) == ["input", "stem", *BLOCKS, "top"]


def test_a_net_that_was_cut_short_keeps_its_blocks(base):
    model = keras.Model(base.input, base.get_layer("conv_pw_5_relu").output)
    assert titles(model) == ["input", "stem", *BLOCKS[:5]]
    assert chain(model)


def test_a_net_called_twice_does_its_work_twice(base, tmp_path):
    a, b = keras.Input((64, 64, 3)), keras.Input((64, 64, 3))
    model = keras.Model([a, b], layers.Flatten()(base(a) - base(b)))
    (_, facts), boxes = drawn(model, tmp_path)
    names = [texts[0] for texts in boxes]
    assert sorted(names) == sorted(["input", "input", "stem", *BLOCKS, "top"])
    once = sum(cost.macs for cost in layer_costs(0.25, size=64, include_top=False))
    assert f"{2 * once:,} MACs" in facts
    assert f"{base.count_params():,} params" in facts
    macs = sum(
        number(texts[-1]) for name, texts in zip(names, boxes, strict=True) if name != "input"
    )
    assert macs == pytest.approx(2 * once, rel=0.005)
    _, links = boxes_and_links(model)
    assert [(names[a], names[b]) for a, b in links].count(("input", "stem")) == 2


def test_branches_are_drawn(base):
    branches = [
        layers.Conv2D(4, 1, name="near")(base.get_layer("conv_pw_11_relu").output),
        layers.Conv2D(4, 1, name="far")(base.output),
    ]
    model = keras.Model(base.input, branches)
    names = titles(model)
    assert sorted(names) == sorted(["input", "stem", *BLOCKS, "near", "far"])
    _, links = boxes_and_links(model)
    arrows = {(names[a], names[b]) for a, b in links}
    assert {("block 11", "near"), ("block 11", "block 12"), ("block 13", "far")} <= arrows
    assert len(arrows) == len(names) - 1


def test_a_subclassed_model_is_one_box(base, tmp_path):
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.base = base

        def call(self, x):
            return self.base(x)

    model = Own()
    model(keras.ops.zeros((1, 64, 64, 3)))
    _, [texts] = drawn(model, tmp_path)
    assert texts[:3] == ["own", "Own", "?"]


# Models without MobileNet


def test_any_other_model_has_a_box_a_kernel(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name="conv1"),
            layers.BatchNormalization(name="conv1_bn"),
            layers.ReLU(name="conv1_relu"),
            layers.Dropout(0.1, name="dropout"),
            layers.Conv2D(4, 3, name="conv_preds"),
            layers.Flatten(),
        ]
    )
    _, boxes = drawn(model, tmp_path)
    assert [texts[0] for texts in boxes] == ["conv1", "conv_preds"]
    assert boxes[0][1] == "Conv2D, BatchNormalization, ReLU, Dropout"
    assert boxes[1][1:3] == ["Conv2D, Flatten", "64"]
    assert chain(model)


def test_a_box_ends_where_the_graph_forks_or_joins():
    inputs = keras.Input((4,))
    x = layers.ReLU(name="fork")(inputs)
    branches = [layers.ReLU(name="left")(x), layers.ReLU(name="right")(x)]
    outputs = layers.Flatten(name="last")(layers.Add(name="join")(branches))
    model = keras.Model(inputs, outputs)
    boxes, links = boxes_and_links(model)
    names = ["+".join(item.operation.name for item in box.items) for box in boxes]
    assert names[1:] == ["left", "right", "join+last"]
    assert names[0].endswith("+fork")
    assert links == [(0, 1), (0, 2), (1, 3), (2, 3)]


def test_a_nested_model_without_mobilenet_stays_closed(small, tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3, name="last")(small(inputs)))
    _, boxes = drawn(model, tmp_path)
    assert [texts[0] for texts in boxes] == ["input", "small", "last"]
    assert boxes[1][1:] == ["Sequential", "2", "10 params", "8 MACs"]
    assert chain(model)


def test_long_chains_are_cut_in_words_only(tmp_path):
    model = keras.Sequential([keras.Input((4,)), *(layers.LayerNormalization() for _ in range(9))])
    (_, facts), [texts] = drawn(model, tmp_path)
    assert texts[1] == "LayerNormalization, LayerNormalization, LayerNormalization, ..."
    assert f"{model.count_params()} params" in facts


def test_boxes_tell_squeeze_excite_adds_and_a_dense_top(tmp_path):
    small = (v3.SMALL[0], v3.SMALL[3], v3.SMALL[4])
    plot_model(
        MobileNetV3Small((64, 64, 3), weights=None, blocks=small), tmp_path / "v3.dot", compact=True
    )
    text = (tmp_path / "v3.dot").read_text()
    assert text.count("squeeze-excite") == 3
    assert "depthwise 5x5, squeeze-excite, pointwise 1x1, add" in text
    assert "average pool, pointwise 1x1, hard-swish, pointwise 1x1, softmax" in text
    few = (v2.BLOCKS[0], v2.BLOCKS[1])
    plot_model(
        MobileNetV2((64, 64, 3), weights=None, blocks=few), tmp_path / "v2.dot", compact=True
    )
    assert "average pool, dense, softmax" in (tmp_path / "v2.dot").read_text()

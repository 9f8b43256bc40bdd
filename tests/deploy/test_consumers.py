"""Other programs open the exported files: MediaPipe, TFLite Micro, OpenCV, ONNX' own tools."""

import re
import zipfile

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as litert_schema
from consumer_nets import CLASSES, NETS, coloured_images, lively_net

from keras_mobilenet import Predictor, export
from keras_mobilenet.deploy.comparison import variation
from keras_mobilenet.nets.costs.layers import layer_costs
from keras_mobilenet.nets.costs.memory import peak_memory

pytestmark = pytest.mark.consumers
LABELS = ["a cat", "a dog", "a\nlynx", "an owl", "a hen"]
IMAGES = coloured_images()
# Of the largest score. The order of sums alone makes 1e-5; a wrong padding or scale 1e-1.
ROUNDING = 1e-4
# int8 kernels of two programs round at other places: of the scores' own, root mean square. These
# nets, random ones, differ by 0.1 to 0.3 from their floats so, and by 0.7 from other images'.
ROUNDED = 0.4


def exported(folder, net="mobilenet", suffix=".tflite", **options):
    """A file of a lively net, and what `Predictor` gets out of it."""
    path = folder / f"net{suffix}"
    options = {"calibration": IMAGES, "labels": LABELS, "tolerance": 1.0} | options
    export(lively_net(net), path, **options)
    with Predictor(path) as predictor:
        return path, predictor.predict(IMAGES)


def classified(path, images=IMAGES):
    """MediaPipe's categories of each image, the first class first."""
    mediapipe = pytest.importorskip("mediapipe")
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(BaseOptions(model_asset_path=str(path)))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for pixels in images:
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
            yield classifier.classify(image).classifications[0].categories


@pytest.mark.parametrize("net", NETS)
def test_nets_tell_the_images_apart(tmp_path, net):
    _, scores = exported(tmp_path, net)
    assert variation(scores) > 0.05  # else the tests below compare constants


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("quantize", [None, "float16", "dynamic", "int8"])
def test_mediapipe_names_the_classes_that_we_do(tmp_path, quantize, pixels):
    if quantize == "dynamic":
        pytest.importorskip("tensorflow")
    path, scores = exported(tmp_path, quantize=quantize, include_preprocessing=pixels)
    found = []
    for categories in classified(path):
        assert all(c.category_name == LABELS[c.index].replace("\n", " ") for c in categories)
        found.append([c.score for c in sorted(categories, key=lambda c: c.index)])
    # Between -1 and 1 a pixel may fall between two codes, and floats round to either side.
    allowed = ROUNDED if quantize in ("int8", "dynamic") and not pixels else ROUNDING
    assert np.linalg.norm(found - scores) < allowed * np.linalg.norm(scores)


@pytest.mark.parametrize("quantize", [None, "float16", "int8"])
def test_mediapipe_takes_a_net_of_any_size_at_224(tmp_path, quantize):
    images, path = coloured_images(2, size=224), tmp_path / "net.tflite"
    net = lively_net(input_shape=(None, None, 3))
    options = {} if quantize != "int8" else {"calibration": images, "tolerance": 1.0}
    export(net, path, quantize=quantize, include_preprocessing=True, **options)
    found = [sorted(c, key=lambda c: c.index) for c in classified(path, images)]
    with Predictor(path) as predictor:
        scores = predictor.predict(images)
        assert predictor.predict(images[:, :96, :128]).shape == scores.shape  # any other, too
    assert np.array([[c.score for c in each] for each in found]) == pytest.approx(
        scores, abs=ROUNDING
    )


@pytest.mark.parametrize(("pixels", "fault"), [(False, "got INT8"), (True, "found INT8")])
def test_mediapipe_takes_no_int8_at_the_ends(tmp_path, pixels, fault):
    path, _ = exported(tmp_path, quantize="full_int8", include_preprocessing=pixels)
    with pytest.raises(Exception, match=fault):
        next(classified(path))


def test_mediapipe_scales_all_channels_alike(tmp_path):
    scaling = "mean=124,116,104;std=58,57,57"
    path, _ = exported(tmp_path, preprocessing=scaling)
    with pytest.raises(Exception, match="Per-channel image normalization is not available"):
        next(classified(path))
    path, scores = exported(tmp_path, preprocessing=scaling, include_preprocessing=True)
    first = [categories[0].score for categories in classified(path)]
    assert first == pytest.approx(scores.max(axis=1), abs=ROUNDING)


def test_metadata_say_what_googles_own_reader_reads(tmp_path):
    pytest.importorskip("mediapipe")
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    def read(**options):
        path, _ = exported(tmp_path, **options)
        model = litert_schema.Model.GetRootAs(path.read_bytes(), 0)
        entries = [model.Metadata(i) for i in range(model.MetadataLength())]
        (buffer,) = (x.Buffer() for x in entries if x.Name() == b"TFLITE_METADATA")
        content = model.Buffers(buffer).DataAsNumpy().tobytes()
        assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
        model = schema.ModelMetadataT.InitFromPackedBuf(content)
        (graph,) = model.subgraphMetadata
        assert model.minParserVersion == b"1.0.0"
        (labels,) = graph.outputTensorMetadata[0].associatedFiles
        kind = schema.AssociatedFileType.TENSOR_AXIS_LABELS
        assert (labels.name, labels.type) == (b"labels.txt", kind)
        assert "labels.txt" in zipfile.ZipFile(path).namelist()
        image = graph.inputTensorMetadata[0]
        properties = image.content.contentProperties
        size = properties.defaultSize
        assert (properties.colorSpace, size.width, size.height) == (1, 96, 96)
        (unit,) = image.processUnits
        return unit.options.mean[0], unit.options.std[0]

    assert read() == (127.5, 127.5)
    assert read(include_preprocessing=True) == (0, 1)
    # A code of a pixel stands for the float that the net takes: (pixel - mean) / std.
    mean, std = read(include_preprocessing=True, quantize="int8")
    assert mean in (127, 128)
    assert std == pytest.approx(127.5)


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_onnx_own_tools_pass_and_simplify_our_files(tmp_path, net, pixels):
    onnx, onnxsim = pytest.importorskip("onnx"), pytest.importorskip("onnxsim")
    from onnxruntime import InferenceSession

    path, scores = exported(tmp_path, net, ".onnx", include_preprocessing=pixels)
    onnx.checker.check_model(str(path), full_check=True)
    simple, equal = onnxsim.simplify(onnx.load(path))
    assert equal
    inputs = IMAGES if pixels else IMAGES.astype(np.float32) / 127.5 - 1
    (simplified,) = InferenceSession(simple.SerializeToString()).run(None, {"input": inputs})
    assert simplified == pytest.approx(scores, abs=ROUNDING)


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_opencv_computes_what_we_do(tmp_path, net, pixels):
    cv2 = pytest.importorskip("cv2")
    path, scores = exported(tmp_path, net, ".onnx", include_preprocessing=pixels)
    network, found = cv2.dnn.readNetFromONNX(str(path)), []
    for x in IMAGES if pixels else IMAGES.astype(np.float32) / 127.5 - 1:
        network.setInput(x[None])
        found.append(network.forward()[0].copy())
    assert np.linalg.norm(found - scores) < ROUNDING * np.linalg.norm(scores)


def micro(path):
    """What TFLite Micro puts out for each image."""
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    interpreter = runtime.Interpreter.from_file(str(path), arena_size=1_000_000)
    taken, given = interpreter.get_input_details(0), interpreter.get_output_details(0)
    outputs = []
    for pixels in IMAGES:
        x = pixels[None]
        if taken["dtype"] != np.uint8:
            x = coded(x.astype(np.float32) / 127.5 - 1, taken)
        interpreter.set_input(x, 0)
        interpreter.invoke()
        outputs.append(decoded(interpreter.get_output(0)[0], given))
    return np.stack(outputs)


def coded(values, details):
    if details["dtype"] == np.float32:
        return values
    known = details["quantization_parameters"]
    return np.rint(values / known["scales"] + known["zero_points"]).clip(-128, 127).astype(np.int8)


def decoded(codes, details):
    known = details["quantization_parameters"]
    if codes.dtype == np.float32:
        return codes
    return (codes.astype(np.float32) - known["zero_points"]) * known["scales"]


@pytest.mark.parametrize("net", NETS)
def test_tflite_micro_computes_what_we_do(tmp_path, net):
    path, scores = exported(tmp_path, net)
    assert micro(path) == pytest.approx(scores, abs=ROUNDING)
    for quantize in ("int8", "full_int8"):
        path, _ = exported(tmp_path, net, quantize=quantize)
        assert np.linalg.norm(micro(path) - scores) < ROUNDED * np.linalg.norm(scores)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0.25},
        {"alpha": 0.25, "size": 128},
        {"alpha": 0.5, "classes": 1000},
        {"net": "mobilenet_v2", "alpha": 0.35},
        {"net": "mobilenet_v3_small", "alpha": 0.75, "minimalistic": True},
        {"net": "mobilenet_v3_small", "alpha": 0.75},
        {"net": "mobilenet_v4_conv_small", "alpha": 0.5},
    ],
)
def test_tflite_micros_arena_is_what_is_counted(tmp_path, capfd, options):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    path, size = tmp_path / "net.tflite", options.get("size", 96)
    counted = peak_memory(
        layer_costs(**{"classes": CLASSES, "size": size} | options), "int8", runtime="tflite-micro"
    )
    files = {"quantize": "full_int8", "calibration": coloured_images(2, size=size)}
    for pixels in (False, True):
        export(lively_net(**options), path, tolerance=1.0, include_preprocessing=pixels, **files)
        runtime.Interpreter.from_file(str(path), arena_size=1_000_000).print_allocations()
        printed = "".join(capfd.readouterr())
        arena, tensors = (
            int(re.search(f"{part} ([0-9]+) bytes", printed)[1]) for part in ("total", "head")
        )
        assert counted.bytes - counted.live["tables"] == tensors
        # Tables are counted by an average for each kind of operation.
        assert counted.bytes == pytest.approx(arena, rel=0.01)


def test_float_image_makes_tflite_micros_arena_grow(tmp_path, capfd):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    heads = {}
    for pixels in (False, True):  # as docs/how-to/microcontroller.md says
        path, _ = exported(tmp_path, quantize="int8", include_preprocessing=pixels)
        runtime.Interpreter.from_file(str(path), arena_size=1_000_000).print_allocations()
        (heads[pixels],) = re.findall(r"head (\d+) bytes", "".join(capfd.readouterr()))
    assert heads == {False: "138240", True: "73728"}

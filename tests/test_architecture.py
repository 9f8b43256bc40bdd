"""The package's own order: imports point down, and light commands stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import keras_mobilenet

PACKAGE = Path(keras_mobilenet.__file__).parent

# From the ground up: a module may import modules of the rows above its own in this list, only.
ROWS = (
    {"errors", "frozen", "image_parts", "pixel_scaling", "quiet", "spec", "texts", "workers"},
    {"locks", "write_faults"},
    {"files"},
    {"cli_options", "labels", "naming", "parts", "pretrained", "sources"},
    {"arguments"},
    {"costs", "recipes"},
    {"arrays", "charts", "http_files", "images", "local_files", "tables"},
    {"hashes"},
    {"download"},
    {"cost_tables", "sizes"},
    {"latency", "memory", "paper_tables"},
    {"device_tables", "variants"},
    {"checkpoints.checkpoint", "checkpoints.provenance"},
    {"checkpoints.hdf5", "checkpoints.tfjs_manifest", "checkpoints.zip_files"},
    {"checkpoints.whole_model"},
    {
        "checkpoints.crc32c",
        "checkpoints.flatbuffer",
        "checkpoints.protobuf_wire",
        "checkpoints.tflite_model",
    },
    {"checkpoints.onnx_check", "checkpoints.tflite_kernels"},
    {"checkpoints.tflite_check"},
    {"checkpoints.foreign", "checkpoints.onnx_graph"},
    {"checkpoints.onnx_padding"},
    {"checkpoints.slim_net", "checkpoints.sstable", "checkpoints.tf_values"},
    {
        "checkpoints.frozen_graph",
        "checkpoints.keras_h5",
        "checkpoints.legacy_h5",
        "checkpoints.npz_file",
        "checkpoints.onnx_file",
        "checkpoints.safetensors_file",
        "checkpoints.slim_checkpoint",
        "checkpoints.tfjs",
        "checkpoints.tflite_file",
    },
    {"checkpoints.keras_archive"},
    {"checkpoints.strangers"},
    {"checkpoints.registry"},
    {"checkpoints.adapting", "checkpoints.misfit", "checkpoints.models"},
    {"checkpoints.writing"},
    {"checkpoints.inspection", "checkpoints.loading", "published"},
    {"input_scaling", "keras_check"},
    {"boxes", "cuts", "graph", "model_files", "preprocessing"},
    {"compact_diagrams", "pyramids"},
    {"diagrams"},
    {"classification", "mobilenet"},
    {"deploy.processor", "deploy.runtimes"},
    {
        "deploy.backends",
        "deploy.comparison",
        "deploy.copies",
        "deploy.doubts",
        "deploy.inputs",
        "deploy.engine",
        "deploy.listing",
        "deploy.metadata",
        "deploy.saved_models",
        "deploy.staging",
        "deploy.timing",
        "deploy.trial",
        "deploy.unconverted",
    },
    {"deploy.opening"},
    {
        "deploy.agreement",
        "deploy.calibration",
        "deploy.conversion",
        "deploy.machine",
        "deploy.rounding",
    },
    {"deploy.folding"},
    {"deploy.bias_correction"},
    {"deploy.keras_engine", "deploy.litert_engine", "deploy.onnx_engine", "deploy.openvino_engine"},
    {"deploy.engines"},
    {"deploy.exporting", "deploy.predictor"},
    {"deploy.contenders", "deploy.features", "deploy.read_ahead"},
    {
        "deploy.benchmarking",
        "deploy.folders",
        "deploy.latencies",
        "deploy.job_file",
        "deploy.journal",
    },
    {"deploy.bench_charts", "deploy.bench_tables", "deploy.records"},
    {"deploy.outputs"},
    {"deploy.folder_job"},
    {"deploy.ray_job"},
    {
        "transfer.checks",
        "transfer.heat_maps",
        "transfer.markup",
        "transfer.metrics",
        "transfer.objectives",
        "transfer.picture_lists",
        "transfer.progress",
        "transfer.report_words",
        "transfer.runs",
        "transfer.softmax_regression",
        "transfer.targets",
        "transfer.value_ranges",
        "transfer.views",
    },
    {
        "transfer.array_data",
        "transfer.linear_ends",
        "transfer.multi_label_metrics",
        "transfer.report_charts",
        "transfer.report_tables",
        "transfer.splits",
        "transfer.tail_steps",
    },
    {"transfer.activation_maps", "transfer.datasets", "transfer.freezing", "transfer.tops"},
    {"transfer.feature_cache", "transfer.run_state"},
    {"transfer.report_grid", "transfer.report_mistakes", "transfer.report_sections"},
    {"transfer.report_multi_label"},
    {"transfer.report"},
    {"transfer.base_nets", "transfer.boundaries", "transfer.run_files", "transfer.sources"},
    {"transfer.features"},
    {"transfer.top_training"},
    {"transfer.settings", "transfer.tail_training"},
    {"transfer.training"},
    {"transfer.finetuning", "transfer.probing"},
    {"training.options"},
    {"training.nets", "training.reading", "training.schedules"},
    {"training.learning", "training.pipeline", "training.steps", "training.threads"},
    {"training.session"},
    {"training.scratch"},
    {"classify_options", "run_cli"},
    {
        "bench_cli",
        "classify_cli",
        "export_cli",
        "finetune_cli",
        "latency_cli",
        "train_cli",
        "weights_cli",
    },
    {"cli"},
    {"__main__"},
)
STDLIB_ONLY = {"errors", "files", "image_parts", "quiet", "spec", "texts", "labels", "naming",
               "parts", "pretrained", "sources", "write_faults",
               "arguments", "costs", "tables", "cost_tables", "device_tables", "latency", "memory",
               "paper_tables", "sizes",
               "variants", "__main__"}  # fmt: skip
KERAS = {
    "boxes",
    "cuts",
    "diagrams",
    "frozen",
    "graph",
    "input_scaling",
    "keras_check",
    "model_files",
    "preprocessing",
    "pyramids",
    "classification",
    "deploy.agreement",
    "deploy.backends",
    "deploy.bias_correction",
    "deploy.conversion",
    "deploy.exporting",
    "deploy.features",
    "deploy.copies",
    "deploy.folding",
    "deploy.rounding",
    "mobilenet",
    "training.learning",
    "training.nets",
    "training.schedules",
    "training.session",
    "training.steps",
    "transfer.activation_maps",
    "transfer.base_nets",
    "transfer.boundaries",
    "transfer.checks",
    "transfer.freezing",
    "transfer.linear_ends",
    "transfer.objectives",
    "transfer.tail_steps",
    "transfer.tail_training",
    "transfer.tops",
    "transfer.training",
    "classify_cli",
    "cli",
}  # the last two only inside their commands, as the light uses below show
TENSORFLOW = {
    "checkpoints.tflite_model",
    "deploy.backends",
    "deploy.conversion",
    "deploy.exporting",
    "deploy.keras_engine",
    "deploy.machine",
    "deploy.saved_models",
    "training.pipeline",
    "training.steps",
    "transfer.tail_steps",
    "workers",
}


def modules():
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if path.stem != "__init__"]
    return [(".".join(path.relative_to(PACKAGE).with_suffix("").parts), path) for path in paths]


def imports(path, *, top_level_only=False):
    tree = ast.parse(path.read_text())
    skipped = {id(child) for node in ast.walk(tree) if is_type_checking(node)
               for child in ast.walk(node)}  # fmt: skip
    for node in tree.body if top_level_only else ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module in (
                "keras_mobilenet",
                "keras_mobilenet.checkpoints",
                "keras_mobilenet.deploy",
                "keras_mobilenet.training",
                "keras_mobilenet.transfer",
            ):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def is_type_checking(node):
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def row_of(name):
    return next(i for i, row in enumerate(ROWS) if name in row)


def test_every_module_has_a_row():
    assert {name for name, _ in modules()} == set().union(*ROWS)


@pytest.mark.parametrize(("name", "path"), modules())
def test_imports_point_down(name, path):
    ours = {i.removeprefix("keras_mobilenet.") for i in imports(path) if "keras_mobilenet." in i}
    assert [other for other in ours if row_of(other) >= row_of(name)] == []


@pytest.mark.parametrize(("name", "path"), modules())
def test_only_the_rooms_of_keras_import_it(name, path):
    outside = {module.partition(".")[0] for module in imports(path)} - {"keras_mobilenet"}
    if name in STDLIB_ONLY:
        assert outside <= sys.stdlib_module_names
    if name not in KERAS:
        assert "keras" not in outside
    assert "tensorflow" not in outside or name in TENSORFLOW
    assert "tensorflow" not in {i.partition(".")[0] for i in imports(path, top_level_only=True)}


def loaded_by(code):
    script = f"import sys; {code}; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


HEAVY = {"keras", "tensorflow", "numpy", "h5py", "PIL", "matplotlib", "requests", "pydot"}


@pytest.mark.parametrize(
    "code",
    [
        "import keras_mobilenet",
        "import keras_mobilenet; keras_mobilenet.layer_costs()",
        "from keras_mobilenet.cli import app; app(['cost'], standalone_mode=False)",
        "from keras_mobilenet.cli import app; app(['paper'], standalone_mode=False)",
        "from keras_mobilenet.cli import app; app(['select'], standalone_mode=False)",
        "from keras_mobilenet.cli import app; app(['bench', '--help'], standalone_mode=False)",
        "from keras_mobilenet.cli import app; app(['--help'], standalone_mode=False)",
        "from keras_mobilenet.cli import app; app(['classify', '--help'], standalone_mode=False)",
        "from keras_mobilenet.cli import app; app(['train', '--help'], standalone_mode=False)",
        "from keras_mobilenet.cli import app; app(['weights', '--help'], standalone_mode=False)",
        "from keras_mobilenet.cli import app; app(['weights', 'list'], standalone_mode=False)",
        "from keras_mobilenet.cli import app; app(['weights', 'where'], standalone_mode=False)",
    ],
)
def test_light_use_loads_nothing_heavy(code):
    assert HEAVY & set(loaded_by(code)) == set()


def test_public_names_are_all_there():
    for name in keras_mobilenet.__all__:
        assert callable(getattr(keras_mobilenet, name))
        assert name in dir(keras_mobilenet)
    assert set(keras_mobilenet.__all__) == set(keras_mobilenet._MODULES)
    assert sorted(keras_mobilenet.__all__) == keras_mobilenet.__all__


def test_no_module_bears_the_name_of_a_public_function():
    top_level = {name for name, _ in modules() if "." not in name}
    assert top_level & set(keras_mobilenet.__all__) == set()


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'MobileNetV9'"):
        keras_mobilenet.MobileNetV9  # noqa: B018


def test_mobilenet_module_offers_the_names_of_keras():
    from keras.applications import mobilenet as theirs

    from keras_mobilenet import mobilenet as ours

    public = {name for name in dir(theirs) if not name.startswith("_")}
    assert public == set(ours.__all__)


def test_signature_begins_with_that_of_keras():
    import inspect

    import keras

    theirs = list(inspect.signature(keras.applications.MobileNet).parameters.values())
    ours = list(inspect.signature(keras_mobilenet.MobileNet).parameters.values())
    for a, b in zip(ours, theirs, strict=False):
        assert (a.name, a.default, a.kind) == (b.name, b.default, b.kind)
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])

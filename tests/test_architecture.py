"""The package's own order: imports point down, and light commands stay light."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keras_mobilenet

PACKAGE = Path(keras_mobilenet.__file__).parent

FRONTS = ("mobilenet", "mobilenet_v2", "mobilenet_v3", "mobilenet_v4")
# From the ground up: what a folder or a front of the package imports stands before it in this list.
ORDER = (
    "nets", "formats", "images", "models", "checkpoints", *FRONTS, "display", "transfer",
    "deploy", "evaluation", "training", "commands", "__main__",
)  # fmt: skip
EVERYWHERE = {"errors", "files"}  # the standard library's users alone
WITHOUT_KERAS = {"nets", "formats", "images", "checkpoints"}
WITH_TENSORFLOW = {"formats", "models", "deploy", "training"}  # within functions


def modules():
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if path.stem != "__init__"]
    return [(".".join(path.relative_to(PACKAGE).with_suffix("").parts), path) for path in paths]


@functools.cache
def imports(path, *, top_level_only=False):
    """Return the modules that a file imports, but for annotations."""
    return list(_imports(ast.parse(path.read_text()), top_level_only))


def _imports(tree, top_level_only):
    skipped = {id(child) for node in ast.walk(tree) if is_type_checking(node)
               for child in ast.walk(node)}  # fmt: skip
    for node in tree.body if top_level_only else ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_type_checking(node):
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def folder_of(name):
    return name.removeprefix("keras_mobilenet.").partition(".")[0]


def ours(path):
    return {folder_of(i) for i in imports(path) if i.startswith("keras_mobilenet.")} - EVERYWHERE


def others(path, **options):
    return {i.partition(".")[0] for i in imports(path, **options)} - {"keras_mobilenet"}


def test_imports_point_down():
    up = {}
    for name, path in modules():
        folder = folder_of(name)
        above = set(ORDER if folder in EVERYWHERE else ORDER[ORDER.index(folder) + 1 :])
        if wrong := ours(path) & above:
            up[name] = wrong
    assert up == {}


def test_only_the_rooms_of_keras_import_it():
    for name, path in modules():
        folder = folder_of(name)
        if folder == "nets" or folder in EVERYWHERE - {"files"}:
            assert others(path) <= sys.stdlib_module_names, name
        if folder in WITHOUT_KERAS:
            assert "keras" not in others(path), name
        assert "tensorflow" not in others(path) or folder in WITH_TENSORFLOW, name
        assert "tensorflow" not in others(path, top_level_only=True), name


def test_root_holds_what_users_import_and_little_else():
    files = {path.stem for path in PACKAGE.glob("*.py")}
    assert files == {"__init__", "__main__", *EVERYWHERE, *FRONTS}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= set(ORDER)


def test_no_folder_is_a_crowd():
    folders = [path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    for folder in folders:
        inside = [path for path in folder.iterdir() if path.suffix == ".py" or path in folders]
        assert len(inside) - 1 <= 9, folder  # but for __init__.py, which says what lives there
        assert len((folder / "__init__.py").read_text()) > 40, folder


V1_NAMES = re.compile(r"conv_(dw|pw|pad)_[\d{]|conv_preds|\bconv1(?!\d)")


def test_layers_names_stand_in_the_nets_own_files():
    """Everywhere else they are read off the net: a second net costs one file."""
    outside = [path for name, path in modules() if folder_of(name) not in ("nets", *FRONTS)]
    found = {path: V1_NAMES.findall(path.read_text()) for path in outside}
    assert {path: names for path, names in found.items() if names} == {}


def loaded_by(code):
    script = f"import sys; {code}; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


HEAVY = {"keras", "tensorflow", "numpy", "h5py", "PIL", "matplotlib", "requests", "pydot"}


LIGHT = [["cost"], ["paper"], ["select"], ["weights", "list"], ["weights", "where"], ["--help"]]
LIGHT += [["doctor", "--json"], ["--version"]]
LIGHT += [["cost", "--net", "mobilenet_v3_small"], ["paper", "--net", "mobilenet_v2"]]
LIGHT += [[command, "--help"] for command in ("bench", "classify", "train", "weights")]


@pytest.mark.parametrize(
    "code",
    [
        "import keras_mobilenet",
        "import keras_mobilenet; keras_mobilenet.layer_costs()",
        *(
            f"from keras_mobilenet.commands.app import app; app({words}, standalone_mode=False)"
            for words in LIGHT
        ),
    ],
)
def test_light_use_loads_nothing_heavy(code):
    assert HEAVY & set(loaded_by(code)) == set()


def test_the_door_for_models_opens_without_keras():
    assert {"keras", "tensorflow"} & set(loaded_by("import keras_mobilenet.deploy.opened")) == set()


def test_public_names_are_all_there():
    for name in keras_mobilenet.__all__:
        assert callable(getattr(keras_mobilenet, name))
        assert name in dir(keras_mobilenet)
    stub = (PACKAGE / "__init__.pyi").read_text().splitlines()
    wanted = {
        f"from keras_mobilenet.{module} import {name} as {name}"
        for name, module in keras_mobilenet._MODULES.items()
    }
    assert {line for line in stub if line.startswith("from")} == wanted
    assert sorted(keras_mobilenet.__all__) == keras_mobilenet.__all__


def test_no_module_bears_the_name_of_a_public_function():
    names = {name.partition(".")[0] for name, _ in modules()}  # deeper ones hide nothing
    assert names & set(keras_mobilenet.__all__) == set()


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

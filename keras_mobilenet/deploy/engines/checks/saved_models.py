"""SavedModels, looked through before TensorFlow opens them.

A SavedModel is a program: it may read and write files, and call Python, when it is opened or run.
Here its graphs are read as data, and one that reaches outside of the model is refused. That keeps
out what is known to reach there; what computes is still the file's author's.

Numbers of fields are those of saved_model.proto, meta_graph.proto, graph.proto, function.proto.
"""

from __future__ import annotations

import math
import os
import re
from os import PathLike
from pathlib import Path

from keras_mobilenet.errors import CheckpointError, about_file, fault
from keras_mobilenet.files import check_file
from keras_mobilenet.formats.tensorflow.protobuf_wire import integer, part, parts, text

REMEDY = "Pass a folder that `keras_mobilenet.export` wrote, or open it with TensorFlow yourself."
GRAPH = "saved_model.pb"  # what makes a folder a SavedModel
_MAX_GRAPH_BYTES = 256 << 20  # a MobileNet's has 200,000
_MAX_VARIABLE_BYTES = 4 << 30
_MAX_CONSTANTS = 64 << 20  # values that constants declare; they may be stored as one
# TensorFlow's own functions that save and restore: it does not run them when it opens a model.
_SAVER = re.compile("__inference__traced_(save|restore)_[0-9]+")
# Those, and the one that gives a signature's tensors their names.
_AROUND = re.compile("__inference_(_traced_(save|restore)|signature_wrapper)_")
# Without a state by TensorFlow's lists, and yet they reach out of the model.
_REACHING = re.compile(
    "Dataset|Table|Reader|File|PyFunc|Debug|Dump|Summary|Shard|Restore|Save|Checkpoint|TPU|Tpu|"
    "Infeed|Outfeed|Remote|Send|Recv|Collective|CustomCall|HostCompute|Audio"
)
# With a state, which is the model's own: variables, random numbers, control flow.
_STATEFUL = re.compile(
    "(VarHandle|ReadVariable|Assign|AssignAddVariable|AssignSubVariable|AssignVariable|"
    "DestroyResource|StatefulPartitionedCall|DisableCopyOnRead|Placeholder|Assert|VariableShape|"
    "If|While|Case|ResourceGather|ResourceGatherNd|ResourceScatter.*|Random.*|Rng.*|Stateful.*|"
    "Multinomial|TruncatedNormal|ParameterizedTruncatedNormal|TensorArray.*V3|"
    "StatelessRandomGetAlg|DeepCopy)(Op|V[0-9])?"
)


def is_saved_model(folder: Path) -> bool:
    """Return whether a folder holds a SavedModel."""
    return (folder / GRAPH).exists()


def check_folder(path: str, suffixes: tuple[str, ...]) -> None:
    """Raise unless a folder holds a SavedModel.

    Raises:
        CheckpointError: it holds none; it names files of `suffixes` in it, as in a run's folder.
    """
    folder = Path(path)
    if is_saved_model(folder) or os.path.lexists(folder / GRAPH):
        return
    files = sorted(str(file) for file in folder.iterdir() if file.name.endswith(suffixes))
    remedy = f"Pass a file in it: {', '.join(files[:3])}." if files else REMEDY
    problem = f"this folder has no {GRAPH}, so it is no SavedModel."
    raise CheckpointError(fault(path, problem, remedy))


def check_saved_model(path: str) -> None:
    """Raise unless the SavedModel in a folder computes and does nothing else.

    Raises:
        CheckpointError: it is damaged, reaches files or Python, or declares more than any net of
            images takes.
    """
    graph = Path(path) / GRAPH
    with about_file(path, REMEDY):
        _check_sizes(path, graph)
        _check(memoryview(graph.read_bytes()))


def operators(path: str | PathLike[str]) -> list[str]:
    """Return the operators that a SavedModel of `export` computes with, in its file's order."""
    model = part(memoryview((Path(path) / GRAPH).read_bytes()), 2)
    functions = parts(part(part(model, 2), 2), 1)
    named = ((text(part(function, 1), 1), function) for function in functions)
    used = [function for name, function in named if not _AROUND.match(name)]
    return [text(node, 2) for function in used for node in parts(function, 3)]


def _check_sizes(path: str, graph: Path) -> None:
    if check_file(graph, REMEDY) > _MAX_GRAPH_BYTES:
        raise CheckpointError(f"its {GRAPH} has more than {_MAX_GRAPH_BYTES:,} bytes")
    files = [file for file in (Path(path) / "variables").glob("*") if not file.is_dir()]
    if sum(check_file(file, REMEDY) for file in files) > _MAX_VARIABLE_BYTES:
        raise CheckpointError(f"its variables have more than {_MAX_VARIABLE_BYTES:,} bytes")


def _check(content: memoryview) -> None:
    for model in parts(content, 2):
        objects = bytes(part(model, 7))
        if not objects:
            raise CheckpointError("it is of TensorFlow 1, whose models run when they are opened")
        if any(True for _ in parts(model, 6)):
            raise CheckpointError("it has assets, files that it reads when it is opened")
        graph = part(model, 2)
        functions = list(parts(part(graph, 2), 1))
        used = [function for function in functions if not _is_saver(function, functions, objects)]
        nodes = [*parts(graph, 1), *(node for function in used for node in parts(function, 3))]
        _check_operators({text(node, 2) for node in nodes})
        if sum(_constant_values(node) for node in nodes) > _MAX_CONSTANTS:
            raise CheckpointError(f"its constants declare more than {_MAX_CONSTANTS:,} values")


def _is_saver(function: memoryview, functions: list[memoryview], objects: bytes) -> bool:
    """Return whether only TensorFlow's saver can call a function."""
    name = text(part(function, 1), 1)
    if not _SAVER.fullmatch(name) or name.encode() in objects:
        return False
    others = (other for other in functions if other is not function)
    return not any(name.encode() in bytes(node) for other in others for node in parts(other, 3))


def _check_operators(names: set[str]) -> None:
    from tensorflow.python.framework import op_def_registry  # noqa: PLC0415

    refused = []
    for name in sorted(names):
        known = op_def_registry.get(name)
        stateful = known is None or known.is_stateful
        if _REACHING.search(name) or (stateful and not _STATEFUL.fullmatch(name)):
            refused.append(name)
    if refused:
        raise CheckpointError(
            f"its graph does more than compute: {', '.join(refused[:3])}. A SavedModel is a "
            "program, and this one may read or write files, or call Python"
        )


def _constant_values(node: memoryview) -> int:
    if text(node, 2) != "Const":
        return 0
    return sum(_values(part(part(entry, 2), 8)) for entry in parts(node, 5))


def _values(tensor: memoryview) -> int:
    lengths = [integer(length, 1) for length in parts(part(tensor, 2), 2)]
    return math.prod(max(length, 0) for length in lengths)

"""Files of models, held against what they can be before a native runtime gets them.

A runtime trusts a file: one byte of it makes it read elsewhere in memory, or take all of it. What
is known to be harmless goes to it at once. What is not damaged, but unusual, is tried out first in
a process of its own, which is bounded in memory and time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from keras_mobilenet.deploy.engines.checks import onnx_check, tflite_check, trial
from keras_mobilenet.errors import CheckpointError, about_file, fault
from keras_mobilenet.files import check_file

REMEDY = "Export it again, or fetch it again."
_MAX_FILE_BYTES = (2 << 30) - 1  # of a flatbuffer or a protobuf, by their formats
_MAX_XML_BYTES = 64 << 20  # a MobileNet's has 100,000
# Of nets of images: they make no memory of numbers that the file declares.
_KNOWN_LAYERS = {
    "Add", "AvgPool", "BatchNormInference", "Clamp", "Concat", "Const", "Convert", "Convolution",
    "Divide", "FakeQuantize", "Gather", "GroupConvolution", "HSigmoid", "HSwish", "MatMul",
    "MaxPool", "Multiply", "Pad", "Parameter", "PReLU", "ReLU", "ReduceMean", "Reshape", "Result",
    "ShapeOf", "Sigmoid", "SoftMax", "Softmax", "Squeeze", "StridedSlice", "Subtract", "Swish",
    "Transpose", "Unsqueeze",
}  # fmt: skip
_LAST_WORDS = 400  # characters of a trial's


def check_tflite(path: str, runtime: str) -> bytes:
    """Return a `.tflite` file's content, if `runtime` may open it.

    Raises:
        CheckpointError: it is no file, is damaged, or did not survive a trial.
    """
    _check_size(path)
    content = Path(path).read_bytes()
    with about_file(path, REMEDY):
        known = tflite_check.check(content)
    if not known:
        try_out(path, runtime)
    return content


def check_openvino(path: str) -> None:
    """Raise unless OpenVINO may open an `.xml`, `.tflite` or `.onnx` file.

    Raises:
        CheckpointError: it or its `.bin` is no file, is damaged, or did not survive a trial.
    """
    if path.endswith(".tflite"):
        check_tflite(path, "openvino")
    elif path.endswith(".onnx"):
        check_onnx(path, "openvino")
    else:
        _check_xml(path)


def _check_xml(path: str) -> None:
    weights = Path(path).with_suffix(".bin")
    if weights.exists():
        check_file(weights, REMEDY)
    if (size := check_file(path, REMEDY)) > _MAX_XML_BYTES:
        raise CheckpointError(fault(path, f"this is an .xml file of {size:,} bytes.", REMEDY))
    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314 - expat bounds entities
    except ElementTree.ParseError as error:
        raise CheckpointError(fault(path, f"is no XML ({error}).", REMEDY)) from error
    if not {layer.get("type") for layer in root.iter("layer")} <= _KNOWN_LAYERS:
        try_out(path, "openvino")


def check_onnx(path: str, runtime: str) -> None:
    """Raise unless `runtime` may open an `.onnx` file.

    Raises:
        CheckpointError: it is no file, is damaged, or did not survive a trial.
    """
    _check_size(path)
    with about_file(path, REMEDY):
        known = onnx_check.check(path)
    if not known:
        try_out(path, runtime)


def _check_size(path: str) -> None:
    size = check_file(path, REMEDY)
    if size > _MAX_FILE_BYTES:
        raise CheckpointError(fault(path, f"this is a file of {size:,} bytes.", REMEDY))


def try_out(path: str, runtime: str) -> None:
    """Let a process of its own open a file and run it once.

    Raises:
        CheckpointError: that process died, failed, took too much memory or had no end.
    """
    command = [sys.executable, "-I", trial.__file__, runtime, os.path.abspath(path)]
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    try:
        ended = subprocess.run(  # noqa: S603 - a script of this package
            command, capture_output=True, check=False, timeout=trial.SECONDS, env=environment,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        problem = f"a trial of it with {runtime} had not ended after {trial.SECONDS} s."
        raise CheckpointError(fault(path, problem, REMEDY)) from error
    if ended.returncode:
        words = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        how = f"was ended by signal {-ended.returncode}" if ended.returncode < 0 else "failed"
        problem = f"cannot be opened by {runtime}: a trial {how}. {words[-_LAST_WORDS:]}"
        raise CheckpointError(fault(path, problem.rstrip(), REMEDY))

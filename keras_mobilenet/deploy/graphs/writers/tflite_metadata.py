"""TFLite Metadata: what MediaPipe and the task libraries of Android and iOS ask a file for.

They are a flatbuffer of a schema of their own, `metadata_schema.fbs`, in a buffer of the model's;
the files that they name lie in a zip archive behind the model. Slots and codes are the schema's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.images.pixel_scaling import WHITE, Preprocessing

NAME = "TFLITE_METADATA"
_IDENTIFIER, _FILE_IDENTIFIER = b"M001", b"TFL3"
_SIZE = (224, 224)  # pixels, where a model takes any
_PARSER = "1.0.0"  # the first version of the schema: nothing newer is used
_FEATURES, _IMAGE = 1, 2  # of ContentProperties
_COLOURS = {1: 2, 3: 1}  # by channels: greyscale, RGB
_AXIS_LABELS = 2  # of AssociatedFileType
_NORMALIZATION = 1  # of ProcessUnitOptions


def with_metadata(content: bytes, info: ModelInfo, labels: str) -> bytes:
    """Return the content of a `.tflite` file with TFLite Metadata in it.

    Args:
        content: The file's, without a zip archive behind it.
        info: What goes with the model.
        labels: The name of the file of labels in that archive.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    _give_a_size(graph.tensors[graph.inputs[0]], info)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = _metadata(graph, info, labels)
    entry.name, entry.buffer = NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    builder = flatbuffers.Builder(len(content) + (1 << 16))
    builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


def _give_a_size(taken: Any, info: ModelInfo) -> None:
    """Let an input of any size begin with one that suits it: MediaPipe resizes no input."""
    if taken.shapeSignature is not None:
        starts = (1, *(info.size or _SIZE), 1)
        known = zip(taken.shapeSignature, starts, strict=True)
        taken.shape = [start if length < 0 else length for length, start in known]


def _metadata(graph: Any, info: ModelInfo, labels: str) -> bytes:
    """Return the metadata of a file's graph."""
    taken = graph.tensors[graph.inputs[0]]
    tables = _Tables()
    image = tables.table({0: tables.text("image"), **_image(tables, taken, info)})
    scores = {0: tables.text("score"), 3: tables.content(_FEATURES, tables.table({}))}
    if info.labels is not None:
        name = tables.text(labels)
        scores[6] = tables.tables([tables.table({0: name}, {2: _AXIS_LABELS})])
    graph_table = tables.table(
        {2: tables.tables([image]), 3: tables.tables([tables.table(scores)])}
    )
    name = tables.text(_name(graph))
    return tables.finished(
        tables.table({0: name, 3: tables.tables([graph_table]), 7: tables.text(_PARSER)})
    )


def _name(graph: Any) -> str:
    name = graph.name or b""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _image(tables: _Tables, tensor: Any, info: ModelInfo) -> dict[int, int]:
    """Return the fields that say what image a tensor takes."""
    properties = {}
    if info.size is not None:
        height, width = info.size
        properties[1] = tables.table({}, numbers={0: width, 1: height})
    colour = {0: _COLOURS.get(int(tensor.shape[3]), 0)}
    fields = {3: tables.content(_IMAGE, tables.table(properties, colour))}
    scaling = _scaling(tensor, info)
    if scaling is not None:
        mean, std = (x if isinstance(x, tuple) else (x,) for x in (scaling.mean, scaling.std))
        options = tables.table({0: tables.floats(mean), 1: tables.floats(std)})
        fields[4] = tables.tables([tables.table({1: options}, {0: _NORMALIZATION})])
        low, high = ([x] for x in _range(tensor, scaling))
        fields[5] = tables.table({0: tables.floats(high), 1: tables.floats(low)})
    return fields


def _scaling(tensor: Any, info: ModelInfo) -> Preprocessing | None:
    """Return what is done with pixels before codes are made of them, if the tensor has codes.

    Where the codes are the pixels, that is what the codes stand for.
    """
    parameters = tensor.quantization
    coded = parameters is not None and parameters.scale is not None and len(parameters.scale)
    if tensor.type == schema.TensorType.UINT8 and coded:
        scale, zero = float(parameters.scale[0]), float(parameters.zeroPoint[0])
        return Preprocessing(scale, -zero * scale)
    return info.preprocessing


def _range(tensor: Any, scaling: Preprocessing) -> tuple[float, float]:
    return (0.0, WHITE) if tensor.type == schema.TensorType.UINT8 else scaling.range


class _Tables:
    """The tables of a flatbuffer, as they fill up: each is made before those that name it."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)

    def text(self, value: str) -> int:
        return int(self._builder.CreateString(value))

    def floats(self, values: Sequence[float]) -> int:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return int(self._builder.EndVector())

    def tables(self, places: Sequence[int]) -> int:
        self._builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self._builder.PrependUOffsetTRelative(place)
        return int(self._builder.EndVector())

    def table(
        self,
        references: Mapping[int, int],
        codes: Mapping[int, int] | None = None,
        numbers: Mapping[int, int] | None = None,
    ) -> int:
        """Return a table of what it refers to, of bytes and of numbers, each by its slot."""
        codes, numbers = codes or {}, numbers or {}
        self._builder.StartObject(1 + max({*references, *codes, *numbers}, default=-1))
        for slot, place in references.items():
            self._builder.PrependUOffsetTRelativeSlot(slot, place, 0)
        for slot, number in numbers.items():
            self._builder.PrependUint32Slot(slot, number, 0)
        for slot, code in codes.items():
            self._builder.PrependUint8Slot(slot, code, 0)
        return int(self._builder.EndObject())

    def content(self, kind: int, properties: int) -> int:
        return self.table({1: properties}, {0: kind})

    def finished(self, root: int) -> bytes:
        self._builder.Finish(root, _IDENTIFIER)
        return bytes(self._builder.Output())

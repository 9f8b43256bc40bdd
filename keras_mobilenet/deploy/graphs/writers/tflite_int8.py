"""A graph as a TFLite flatbuffer that computes in int8.

Kernels have a scale for each output channel, all else one for the tensor. The shares that come out
of a softmax are in steps of 1/256, as LiteRT's kernels have them. Attention alone is computed in
float32: a pixel's shares of hundreds of others are less than such a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_mobilenet.deploy.graphs.operations import INPUT, OUTPUT, Graph, Operation
from keras_mobilenet.deploy.graphs.writers.quantization import (
    Codes,
    Quantized,
    kernel_codes,
)
from keras_mobilenet.deploy.graphs.writers.tflite import Writer, laid_out
from keras_mobilenet.nets.conventions import Length

# What goes in and out: floats, int8 codes, or pixels, uint8, whose codes the inputs are.
Ends = Literal["float32", "int8", "uint8"]
_UNSIGNED = 128  # between a code of uint8 and one of int8
_CODES = f"{INPUT}/codes"
# The axis of a kernel's outputs, as TFLite has them.
_OUTPUTS = {"convolution": 0, "dense": 0, "depthwise": 3}


def can_quantize(graph: Graph) -> bool:
    """Return whether a simplified graph has only what is written here: no scaling of its own."""
    gates = (x for x in graph.operations if x.activation == "hard_sigmoid")
    plain = all(x.kind not in ("scale", "none", "maximum") for x in graph.operations)
    return plain and not graph.pixels and all(x.kernel is not None for x in gates)


def int8_content(quantized: Quantized, *, batch: int | None, takes: Ends, gives: Ends) -> bytes:
    """Return the content of a `.tflite` file.

    Args:
        quantized: What it computes.
        batch: How many images it takes at once, None for any number.
        takes: The type of its input.
        gives: The type of its output, `"float32"` or `"int8"`.
    """
    return _Int8Writer(quantized, batch, takes, gives).content()


class _Int8Writer(Writer):
    """Such a file's tables."""

    def __init__(self, quantized: Quantized, batch: int | None, takes: Ends, gives: Ends) -> None:
        super().__init__(quantized.graph, batch)
        self._known = dict(quantized.codes)
        self._takes, self._gives = takes, gives
        self._in_floats = False  # whether what is written just then is

    def _input(self) -> tuple[int, int]:
        graph, codes = self._graph, self._known[INPUT]
        first = self._typed(INPUT, graph.input_shape, self._takes, codes)
        if self._takes == "int8":
            return first, first
        taken = self._typed(_CODES, graph.input_shape, "int8", codes)
        return first, self._operator_into("QUANTIZE", [first], taken, schema.QuantizeOptionsT())

    def _output(self, made: int, name: str) -> int:
        if self._gives == "int8":
            return made
        real = super()._tensor(OUTPUT, self._graph.shapes[name], "float32")
        return self._operator_into("DEQUANTIZE", [made], real, schema.DequantizeOptionsT())

    def _typed(self, name: str, shape: Sequence[Length], dtype: str, codes: Codes) -> int:
        number = super()._tensor(name, shape, dtype)
        if dtype != "float32":
            zero = codes.zero + (_UNSIGNED if dtype == "uint8" else 0)
            self._quantize(number, [codes.scale], [zero])
        return number

    def _tensor(
        self, name: str, shape: Sequence[Length], dtype: str, *, whole: bool = False
    ) -> int:
        if whole or dtype != "float32" or self._in_floats:
            return super()._tensor(name, shape, dtype, whole=whole)
        return self._typed(name, shape, "int8", self._known[name])

    def _quantize(
        self, tensor: int, scales: Iterable[float], zeros: Iterable[int], axis: int = 0
    ) -> None:
        parameters = schema.QuantizationParametersT()
        parameters.scale = [float(scale) for scale in scales]
        parameters.zeroPoint = [int(zero) for zero in zeros]
        parameters.quantizedDimension = axis
        self._tensors[tensor].quantization = parameters

    def _pad(self, operation: Operation, taken: int, source: Sequence[Length]) -> int:
        self._known.setdefault(f"{operation.name}/pad", self._codes_of(operation.inputs[0]))
        return super()._pad(operation, taken, source)

    def _attention(self, operation: Operation, taken: list[int]) -> int:
        name, shape = operation.name, self._graph.shapes[operation.name]
        self._in_floats = True
        floats = []
        for source, codes in zip(operation.inputs, taken, strict=True):
            real = self._tensor(f"{name}/{source}", self._graph.shapes[source], "float32")
            options = schema.DequantizeOptionsT()
            floats.append(self._operator_into("DEQUANTIZE", [codes], real, options))
        answers = super()._attention(operation, floats)
        self._tensors[answers].name = f"{name}/floats"
        self._in_floats = False
        made = self._tensor(name, shape, "float32")
        return self._operator_into("QUANTIZE", [answers], made, schema.QuantizeOptionsT())

    def _codes_of(self, name: str) -> Codes:
        tensor = self._tensors[self._made[name]]
        return self._known[INPUT if tensor.name == _CODES else tensor.name]

    def _kernel(self, operation: Operation) -> int:
        codes, scales = kernel_codes(operation)
        number = self._constant(laid_out(operation.kind, codes), f"{operation.name}/kernel")
        self._quantize(number, scales, np.zeros(len(scales), int), _OUTPUTS[operation.kind])
        return number

    def _bias(self, operation: Operation) -> int:
        _, scales = kernel_codes(operation)
        steps = scales * np.float64(self._codes_of(operation.inputs[0]).scale)
        bias = np.zeros(operation.channels) if operation.bias is None else operation.bias
        limit = np.iinfo(np.int32)
        codes = np.rint(bias / steps).clip(limit.min, limit.max).astype(np.int32)
        number = self._constant(codes, f"{operation.name}/bias")
        self._quantize(number, steps, np.zeros(len(steps), int))
        return number

    def _constant(self, values: Any, name: str | None = None) -> int:
        if values.dtype != np.float32 or self._in_floats:
            return super()._constant(values, name)
        largest = float(np.abs(values).max()) or 1.0  # of a factor, such as 1/6
        codes = np.rint(values / largest * 127).astype(np.int8)
        number = super()._constant(codes, name or f"factor_{len(self._tensors)}")
        self._quantize(number, [largest / 127], [0])
        return number

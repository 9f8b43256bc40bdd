"""A net and its arrays as the ONNX graphs that PyTorch's exporters make: channels first.

Written from what exports of timm 1.0.31 and torchvision 0.28 by torch 2.13 look like: a HardSwish
is one node, or a product with a HardSigmoid, or with a sum that is clipped and divided.
"""

import numpy as np
from onnx import helper, numpy_helper


def write_net(net, arrays, size, **ways):
    """Return an ONNX model; `size` is the image's length, or 0 for any.

    `ways` are `epsilon`; `folded`, whether batch norms are folded; `hard_swish` and `gate`, of
    `HARD_SWISHES` and `GATES`; `matrices`, whether what is behind the pool is Gemm nodes, as
    torchvision's; `reduced`, whether pools are ReduceMean nodes.
    """
    return _Writer(net, arrays, **ways).model(size)


def _clipped(write, x):
    return write("Clip", write("Add", x, 3.0), 0.0, 6.0)


HARD_SWISHES = {
    "node": lambda write, x: write("HardSwish", x),
    "hard sigmoid": lambda write, x: write("Mul", x, GATES["node"](write, x)),
    "divided last": lambda write, x: write("Div", write("Mul", x, _clipped(write, x)), 6.0),
    "divided first": lambda write, x: write("Mul", x, write("Div", _clipped(write, x), 6.0)),
    "scaled": lambda write, x: write("Mul", write("Mul", _clipped(write, x), 1 / 6), x),
}
GATES = {
    "node": lambda write, x: write("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "divided": lambda write, x: write("Div", _clipped(write, x), 6.0),
    "slim's": lambda write, x: write("Mul", _clipped(write, x), 0.16667),
    "of ends": lambda write, x: write(
        "Min", write("Max", write("Add", write("Mul", x, 1 / 6), 0.5), 0.0), 1.0
    ),
}


class _Writer:
    def __init__(
        self, net, arrays, *, epsilon=1e-5, folded=False, hard_swish="node", gate="node",
        matrices=False, reduced=False,
    ):  # fmt: skip
        self.net, self.arrays, self.epsilon, self.folded = net, arrays, epsilon, folded
        self.hard_swish, self.gate = HARD_SWISHES[hard_swish], GATES[gate]
        self.matrices, self.reduced = matrices, reduced
        self.nodes, self.constants, self.made = [], [], {}
        self.pads = {}  # of layers that only pad

    def model(self, size):
        for layer in self.net:
            taken = [self.made[before.name] for before in self.net.inputs[layer.name]]
            self.made[layer.name] = self._layer(layer, *taken)
        self.nodes[-1].output[0] = "output"
        length = size or "n"
        graph = helper.make_graph(
            self.nodes,
            "main_graph",
            [helper.make_tensor_value_info("input", 1, ["batch", 3, length, length])],
            [helper.make_tensor_value_info("output", 1, None)],
            self.constants,
        )
        opset = helper.make_opsetid("", 17)
        return helper.make_model(graph, opset_imports=[opset], ir_version=8)

    def node(self, kind, *inputs, **attributes):
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        output = f"tensor_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def constant(self, values):
        name = f"constant_{len(self.constants)}"
        dtype = np.int64 if np.asarray(values).dtype.kind == "i" else np.float32
        stored = np.ascontiguousarray(values, dtype) if np.ndim(values) else np.array(values, dtype)
        self.constants.append(numpy_helper.from_array(stored, name))
        return name

    def _layer(self, layer, *taken):
        if layer.kind == "InputLayer":
            return "input"
        if layer.kernel:
            return self._convolution(layer, *taken)
        if layer.kind == "BatchNormalization":
            if self.folded:
                return taken[0]
            values = [self.arrays[name] for name in layer.arrays()]
            return self.node("BatchNormalization", *taken, *values, epsilon=self.epsilon)
        if layer.kind == "ZeroPadding2D":
            self.pads[taken[0]] = layer.pad
            return taken[0]
        if layer.kind == "GlobalAveragePooling2D":
            return self._pool(layer, *taken)
        if layer.kind in ("Add", "Multiply"):
            return self.node({"Add": "Add", "Multiply": "Mul"}[layer.kind], *taken)
        if layer.kind in ("ReLU", "Activation") and layer.part != "top":
            return self._activation(layer, *taken)
        if layer.activation:
            return self._activation(layer, *taken)
        if layer.kind == "Flatten" and not self.matrices:
            return self.node("Flatten", *taken)
        return taken[0]

    def _activation(self, layer, x):
        match layer.activation:
            case None:
                return self.node("Clip", x, 0.0, 6.0)
            case "relu":
                return self.node("Relu", x)
            case "hard_swish":
                return self.hard_swish(self.node, x)
            case _:
                return self.gate(self.node, x)

    def _pool(self, layer, x):
        if self.reduced:
            pooled = self.node("ReduceMean", x, axes=[2, 3], keepdims=1)
        else:
            pooled = self.node("GlobalAveragePool", x)
        is_flat = layer.part == "top" and (self.matrices or not layer.keepdims)
        return self.node("Flatten", pooled) if is_flat else pooled

    def _convolution(self, layer, x):
        kernel, bias = self._values(layer)
        if layer.kind == "Dense" or (self.matrices and layer.part == "top"):
            matrix = kernel.reshape(kernel.shape[-2:]).T
            return self.node("Gemm", x, matrix, bias, transB=1)
        depthwise = layer.kind == "DepthwiseConv2D"
        moved = kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        (top, bottom), (left, right) = self._zeros(layer, x)
        values = [x, moved] if bias is None else [x, moved, bias]
        return self.node(
            "Conv", *values, strides=[layer.stride] * 2, kernel_shape=[*layer.window],
            pads=[top, left, bottom, right], group=kernel.shape[2] if depthwise else 1,
        )  # fmt: skip

    def _zeros(self, layer, x):
        if layer.padding == "valid":
            return self.pads.get(x, ((0, 0), (0, 0)))
        return ((layer.window[0] // 2,) * 2,) * 2  # of a stride of 1

    def _values(self, layer):
        kernel = self.arrays[f"{layer.name}/kernel"]
        norm = self.net.batch_norm_names().get(layer.name)
        if layer.bias or not self.folded:
            return kernel, self.arrays.get(f"{layer.name}/bias")
        gamma, beta, mean, variance = (
            self.arrays[f"{norm}/{name}"]
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + self.epsilon)
        shaped = scale[:, None] if layer.kind == "DepthwiseConv2D" else scale
        return kernel * shaped, beta - mean * scale

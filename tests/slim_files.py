"""TF-slim's MobileNet V1, built and saved by TensorFlow itself; nothing of the package is used.

Source: tensorflow/models, research/slim/nets/mobilenet_v1.py.
"""

import numpy as np

CLASSES = 1001
EPSILON = 1e-3
AVERAGE = "/ExponentialMovingAverage"
# (stride of the depthwise convolution, filters of the pointwise one) behind Conv2d_0
BLOCKS = [(1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5,
          (2, 1024), (1, 1024)]  # fmt: skip


def slim_width(filters, alpha):
    return max(int(filters * alpha), 8)


def slim_arrays(alpha, seed=0):
    """Random values by slim's names, such that the signal neither dies nor saturates."""
    random = np.random.default_rng(seed)
    arrays = {}

    def add(scope, kind, shape, fan_in, channels):
        kernel = random.standard_normal(shape) * np.sqrt(2 / fan_in)
        arrays[f"MobilenetV1/{scope}/{kind}"] = kernel
        norm = f"MobilenetV1/{scope}/BatchNorm/"
        arrays[f"{norm}gamma"] = random.uniform(0.8, 1.2, channels)
        arrays[f"{norm}beta"] = random.uniform(0.2, 0.8, channels)
        arrays[f"{norm}moving_mean"] = random.uniform(-0.1, 0.1, channels)
        arrays[f"{norm}moving_variance"] = random.uniform(0.001, 1.5, channels)

    width = slim_width(32, alpha)
    add("Conv2d_0", "weights", (3, 3, 3, width), 27, width)
    for i, (_, filters) in enumerate(BLOCKS, start=1):
        add(f"Conv2d_{i}_depthwise", "depthwise_weights", (3, 3, width, 1), 9, width)
        before, width = width, slim_width(filters, alpha)
        add(f"Conv2d_{i}_pointwise", "weights", (1, 1, before, width), before, width)
    top = "MobilenetV1/Logits/Conv2d_1c_1x1/"
    arrays[f"{top}weights"] = random.standard_normal((1, 1, width, CLASSES)) / np.sqrt(width)
    arrays[f"{top}biases"] = random.standard_normal(CLASSES)
    return {name: array.astype("float32") for name, array in arrays.items()}


class Net:
    """The net in a graph and a session of TensorFlow 1; close() when done."""

    def __init__(self, arrays, *, fused=True, activation="relu6", extra=None, head=True):
        import tensorflow as tf

        self.tf, self.v1, self.fused, self.activation = tf, tf.compat.v1, fused, activation
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.session = self.v1.Session()
            self.variables = {n: self._variable(n, a) for n, a in arrays.items()}
            self.extra = {n: self._variable(n, a) for n, a in (extra or {}).items()}
            self.input = self.v1.placeholder("float32", (None, None, None, 3), "input")
            self.output = self._net(self.input)
            self.session.run(self.v1.global_variables_initializer())

    def _variable(self, name, array):
        return self.v1.get_variable(name, initializer=array, use_resource=False)

    def _norm(self, x, scope):
        v = [self.variables.get(f"MobilenetV1/{scope}/BatchNorm/{n}")
             for n in ("gamma", "beta", "moving_mean", "moving_variance")]  # fmt: skip
        v[0] = self.tf.ones_like(v[1]) if v[0] is None else v[0]
        with self.graph.name_scope(f"MobilenetV1/MobilenetV1/{scope}/BatchNorm/"):
            if self.fused:
                x = self.v1.nn.fused_batch_norm(
                    x, *v, epsilon=EPSILON, is_training=False, name="FusedBatchNorm"
                )[0]
            else:
                gamma, beta, mean, variance = v
                x = self.tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)
        with self.graph.name_scope(f"MobilenetV1/MobilenetV1/{scope}/"):
            return getattr(self.tf.nn, self.activation)(x)

    def _net(self, x):
        tf, variables = self.tf, self.variables
        x = tf.nn.conv2d(x, variables["MobilenetV1/Conv2d_0/weights"], 2, "SAME",
                         name="MobilenetV1/MobilenetV1/Conv2d_0/Conv2D")  # fmt: skip
        x = self._norm(x, "Conv2d_0")
        for i, (stride, _) in enumerate(BLOCKS, start=1):
            scope = f"Conv2d_{i}_depthwise"
            kernel = variables[f"MobilenetV1/{scope}/depthwise_weights"]
            name = f"MobilenetV1/MobilenetV1/{scope}/depthwise"
            x = tf.nn.depthwise_conv2d(x, kernel, (1, stride, stride, 1), "SAME", name=name)
            x = self._norm(x, scope)
            scope = f"Conv2d_{i}_pointwise"
            x = tf.nn.conv2d(x, variables[f"MobilenetV1/{scope}/weights"], 1, "SAME",
                             name=f"MobilenetV1/MobilenetV1/{scope}/Conv2D")  # fmt: skip
            x = self._norm(x, scope)
        with self.graph.name_scope("MobilenetV1/Logits/"):
            x = tf.reduce_mean(x, (1, 2), keepdims=True)
            x = tf.nn.conv2d(x, variables["MobilenetV1/Logits/Conv2d_1c_1x1/weights"], 1, "SAME")
            x = tf.nn.bias_add(x, variables["MobilenetV1/Logits/Conv2d_1c_1x1/biases"])
            return tf.squeeze(x, (1, 2), name="SpatialSqueeze")

    def logits(self, images):
        return self.session.run(self.output, {self.input: images})

    def save(self, path, version, named=None):
        """Save all variables, or those of `named` under its names; version 1 is one file."""
        with self.graph.as_default():
            saver = self.v1.train.Saver(named, write_version=version)
            saver.save(self.session, str(path), write_meta_graph=False, write_state=False)
        return path

    def freeze(self, path):
        graph = self.graph.as_graph_def()
        frozen = self.v1.graph_util.convert_variables_to_constants(
            self.session, graph, [self.output.op.name]
        )
        path.write_bytes(frozen.SerializeToString())
        return path

    def close(self):
        self.session.close()

"""Files of weights as others write them, from arrays under our names; and looks into models."""

import io
import json
import zipfile

import h5py
import numpy as np
from safetensors.numpy import save_file

from keras_mobilenet.nets.families import v1

# What is read and loaded goes layer by layer: a few blocks are as good as thirteen.
NET = {"alpha": 0.25, "blocks": v1.BLOCKS[:4]}
METADATA = {"format": "keras_mobilenet", "epsilon": "0.001", "padding": "keras"}


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def random_arrays(seed=0, **arguments):
    """Arrays of `spec.network(**arguments)`, no two alike, with variances above zero."""
    random = np.random.default_rng(seed)
    shapes = v1.network(**arguments).arrays()
    arrays = {n: random.standard_normal(s).astype("float32") for n, s in shapes.items()}
    return {n: abs(a) + 1 if n.endswith("variance") else a for n, a in arrays.items()}


def weights(model):
    """Copies of a model's weights by name, those of nested models by their layer's name."""
    copies = {}
    for layer in model.layers:
        if hasattr(layer, "layers"):
            copies |= weights(layer)
        else:
            copies |= {f"{layer.name}/{v.name}": np.array(v) for v in layer.weights}
    return copies


def assign(model, arrays):
    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(arrays[f"{layer.name}/{variable.name}"])


def zeroed(model):
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape))
    return model


def same(found, expected):
    """Whether two sets of arrays hold the same names and the same bits."""
    return found.keys() == expected.keys() and all(
        found[n].dtype == a.dtype and found[n].tobytes() == a.tobytes() for n, a in expected.items()
    )


def by_layer(arrays):
    layers = {}
    for name, array in arrays.items():
        layer, _, variable = name.rpartition("/")
        layers.setdefault(layer, {})[variable] = array
    return layers


def write_keras_2(path, arrays, *, layers=None, chunks=0, renamed=lambda layer: layer):
    """Write the legacy H5 of weights as Keras 2 did: names in bytes, `:0` at their ends."""
    parts = by_layer(arrays)
    layers = list(layers or parts)
    with h5py.File(path, "w") as file:
        _write_names(file, "layer_names", [renamed(layer) for layer in layers], chunks)
        for layer in layers:
            group = file.create_group(renamed(layer))
            names = {v: _keras_2_name(layer, renamed(layer), v) for v in parts.get(layer, ())}
            _write_names(group, "weight_names", list(names.values()))
            for variable, name in names.items():
                group[name] = parts[layer][variable]
    return path


def _keras_2_name(layer, renamed, variable):
    depthwise = layer.startswith("conv_dw") and variable == "kernel"
    return f"{renamed}/{'depthwise_kernel' if depthwise else variable}:0"


def _write_names(parent, attribute, names, chunks=0):
    texts = np.array([name.encode() for name in names], dtype="S")
    if not chunks:
        parent.attrs[attribute] = texts
    for number, part in enumerate(np.array_split(texts, chunks) if chunks else ()):
        parent.attrs[f"{attribute}{number}"] = part


def write_keras_3(path, arrays, *, layers=None):
    """Write `.weights.h5` as Keras 3 does: groups numbered by class, the name in an attribute."""
    parts, counts = by_layer(arrays), {}
    with h5py.File(path, "w") as file:
        file.create_group("layers")
        for layer in layers or parts:
            group = _keras_3_class(layer, parts[layer])
            number = counts[group] = counts.get(group, -1) + 1
            variables = file.create_group(f"layers/{group}{f'_{number}' if number else ''}/vars")
            variables.attrs["name"] = layer
            for index, array in enumerate(parts[layer].values()):
                variables[str(index)] = array
    return path


def _keras_3_class(layer, variables):
    if "gamma" in variables:
        return "batch_normalization"
    return "depthwise_conv2d" if layer.startswith("conv_dw") else "conv2d"


def write_safetensors(path, arrays, metadata=METADATA):
    save_file(arrays, path, metadata)
    return path


def write_keras_archive(path, arrays, packing=zipfile.ZIP_STORED, config="{}"):
    """Write a `.keras` archive; `config.json` is for Keras only."""
    content = io.BytesIO()
    write_keras_3(content, arrays)
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", content.getvalue())
    return path


def write_npz(path, arrays, save=np.savez):
    with open(path, "wb") as file:  # NumPy would append .npz to a path
        save(file, **arrays)
    return path


# Keras 1 and nested models


KERAS_1 = {"running_mean": "moving_mean", "running_std": "moving_variance", "W": "kernel"}
KERAS_1_NAMES = {"bias": "b"} | {ours: theirs for theirs, ours in KERAS_1.items()}


def write_keras_1(path, arrays, *, end=":0", version=None, nested_in=None):
    """Write a legacy H5 as Keras 1 did: the layer and its weight joined, `running_std`, `W`."""
    groups = {}
    for name, array in arrays.items():
        layer, _, variable = name.rpartition("/")
        if layer.startswith("conv_dw") and variable == "kernel":
            variable = "depthwise_kernel"
        theirs = f"{layer}_{KERAS_1_NAMES.get(variable, variable)}{end}"
        groups.setdefault(nested_in or layer, {})[theirs] = array
    return write_groups(path, groups, {"keras_version": version} if version else {})


def write_nested(path, arrays, *, group="sequential_1", name="{layer}/{variable}:0", head=()):
    """Write a legacy H5 of a nested model: all layers in one group, and `head` in another."""
    weights = {}
    for ours, array in arrays.items():
        layer, _, variable = ours.rpartition("/")
        if layer.startswith("conv_dw") and variable == "kernel":
            variable = "depthwise_kernel"
        weights[name.format(layer=layer, variable=variable)] = array
    return write_groups(path, {group: weights} | {"sequential_3": dict(head)})


def write_groups(path, groups, attributes=None, chunks=0):
    """Write a legacy H5 of these groups, each a dict of arrays by their names in the file."""
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes or {})
        _write_names(file, "layer_names", list(groups))
        for layer, weights in groups.items():
            group = file.create_group(layer)
            _write_names(group, "weight_names", list(weights), chunks)
            for name, array in weights.items():
                group[name] = array
    return path


# TensorFlow.js


def write_tfjs(path, arrays, *, quantised=None, shard_bytes=4 << 20, name="{layer}/{variable}"):
    """Write a layers model as its converter does: a folder, a group a layer, shards of 4 MB.

    `quantised` is "uint8", "uint16" or "float16".
    """
    path.mkdir()
    manifest = []
    for number, (layer, variables) in enumerate(by_layer(arrays).items(), start=1):
        content, entries = b"", []
        for variable, array in variables.items():
            entry, stored = _tfjs_entry(array, quantised)
            depthwise = layer.startswith("conv_dw") and variable == "kernel"
            theirs = "depthwise_kernel" if depthwise else variable
            entries.append({"name": name.format(layer=layer, variable=theirs)} | entry)
            content += stored.tobytes()
        shards = [content[i : i + shard_bytes] for i in range(0, len(content), shard_bytes)]
        paths = [f"group{number}-shard{i}of{len(shards)}" for i in range(1, len(shards) + 1)]
        for shard_name, shard in zip(paths, shards, strict=True):
            (path / shard_name).write_bytes(shard)
        manifest.append({"paths": paths, "weights": entries})
    model = {"modelTopology": None, "weightsManifest": manifest}
    (path / "model.json").write_text(json.dumps(model))
    return path


def _tfjs_entry(array, quantised):
    entry = {"shape": list(array.shape), "dtype": array.dtype.name}
    if quantised is None:
        return entry, array
    if quantised == "float16":
        return entry | {"quantization": {"dtype": quantised}}, array.astype("<f2")
    least, most = float(array.min()), float(array.max())
    scale = (most - least) / np.iinfo(quantised).max or 1.0
    levels = np.round((array.astype("f8") - least) / scale).astype(np.dtype(quantised))
    quantization = {"dtype": quantised, "scale": scale, "min": least}
    return entry | {"quantization": quantization}, levels

"""A net and its arrays, from a file of weights or a builder's arguments, without Keras."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from math import prod
from os import PathLike
from typing import Any

import numpy as np

from keras_mobilenet.checkpoints.hub_folders import read_hub_config, weights_in
from keras_mobilenet.checkpoints.load_errors import other_conventions, undecided
from keras_mobilenet.checkpoints.loading import info_in, read_values
from keras_mobilenet.checkpoints.published import names
from keras_mobilenet.checkpoints.published.hub import repository_file, source_of
from keras_mobilenet.checkpoints.published.weights import local_weights, path_of
from keras_mobilenet.errors import CheckpointError, fault
from keras_mobilenet.formats.arrays import shapes_of, shortened
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.registry import open_checkpoint, unpacked_limit
from keras_mobilenet.images.labels import imagenet_classes
from keras_mobilenet.images.model_info import ModelInfo, as_published, as_saved
from keras_mobilenet.images.pixel_scaling import MINUS_ONE_TO_ONE, PIXELS
from keras_mobilenet.nets import arguments
from keras_mobilenet.nets.conventions import Conventions, Length
from keras_mobilenet.nets.families import registry
from keras_mobilenet.nets.net import DEFAULT_SIZE, Family, Net, Shape
from keras_mobilenet.nets.pretrained import Pretrained
from keras_mobilenet.nets.published import table
from keras_mobilenet.nets.published.rows import Published

CONVENTIONS = tuple(field.name for field in fields(Conventions))
DEFAULT_NET = registry.FAMILIES[0].key
RANDOM = "random"  # in the place of a file: values as a new net has them
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Builder:
    """A net that is not built yet: a family's key, and arguments of its builder.

    `Predictor` and `export` take one in the place of a Keras model. Arguments that are left out
    are those of `keras.applications`, but for preprocessing: that of -1 to 1.
    """

    net: str = DEFAULT_NET
    arguments: Mapping[str, Any] = field(default_factory=dict)
    guesses: tuple[str, ...] = ()  # arguments that, like the net, give way to what its file says


@dataclass(frozen=True)
class NetWeights:
    """A net, its arrays in float32, and what the graph of both needs beside them."""

    family: Family
    net: Net
    arrays: Mapping[str, np.ndarray[Any, Any]]
    conventions: Conventions
    name: str
    size: tuple[Length, Length]  # (height, width) of the image, None where any length goes
    classifier_activation: str | None
    includes_preprocessing: bool
    published: Published | None = None  # the row of weights from the hub
    saved: ModelInfo | None = None  # what the file says of the net's input and outputs
    source: str | None = None  # "owner/name@commit" of a file from the hub

    @property
    def info(self) -> ModelInfo:
        """How an image becomes the input, and the names of the classes."""
        height, width = self.size
        size = None if height is None or width is None else (height, width)
        scaling = PIXELS if self.includes_preprocessing else MINUS_ONE_TO_ONE
        classes = self.net.classifier.channels if self.net.classifier else None
        labels = imagenet_classes() if classes == len(imagenet_classes()) else None
        info = ModelInfo(size, preprocessing=scaling, labels=labels)
        channels = self.net.layers[0].channels
        if self.published:
            return as_published(info, self.published, channels, self.source)
        if self.saved:
            return as_saved(info, self.saved, classes=classes, channels=channels)
        return info


def builder_of(path: str | PathLike[str]) -> Builder:
    """Return the builder of the net whose weights a file holds, or a folder as the hub's are.

    Its arguments are those that `config.json` beside the file records. Without one of ours, the
    arrays tell them, and the size is that in the file, or its family's usual one.

    Raises:
        CheckpointError: the file cannot be read, or is no MobileNet's.
    """
    path = weights_in(path)
    config = read_hub_config(path)
    if config is not None:
        return Builder(config.net, {**config.arguments, "weights": path})
    with open_checkpoint(path) as checkpoint:
        shapes = shapes_of(checkpoint.arrays)
        origin = registry.recognise(shapes)
        background, saved = checkpoint.background, info_in(path, checkpoint)
    if origin is None:
        names = ", ".join(shortened(shapes))
        remedy = "Pass a file of one whole MobileNet, or the Keras model that it belongs to."
        raise CheckpointError(fault(path, f"its arrays are no MobileNet's: {names}.", remedy))
    family = registry.family(origin.net)
    usual = family.default_size or DEFAULT_SIZE
    size = (saved and saved.size) or (usual, usual)
    given = {**origin.arguments(), "input_shape": (*size, origin.channels)}
    if background and origin.classes is not None:
        given["classes"] = origin.classes - 1
    return Builder(family.key, {**given, "weights": path})


def published_builder(name: str, arguments: Mapping[str, Any]) -> Builder:
    """Return the builder of the net whose published weights have a name, Keras' or the hub's.

    Its images are of the size that the publisher tests with, unless `arguments` say otherwise. Of a
    repository that is no row, net and size are found in its file and its settings; a folder such
    as the hub's repositories may take its place.

    Raises:
        ValueError: no such weights are known.
        CheckpointError: what is in the folder is damaged, or no MobileNet's.
    """
    if os.path.isdir(name):
        found = builder_of(name)
        return replace(found, arguments={**found.arguments, **arguments})
    if named := names.keras_file(name):
        return _keras_builder(*named, {**arguments, "weights": name})
    asked = names.repository(name)
    if asked is not None:
        return _repository_builder(asked, arguments)
    row = table.get(names.row_name(name))
    size = row.test.size
    given = {"input_shape": (size, size, 3), **row.arguments, **arguments, "weights": str(row)}
    return Builder(row.net, given)


def _keras_builder(row: Pretrained, include_top: bool, arguments: Mapping[str, Any]) -> Builder:
    given = {
        "input_shape": (row.size, row.size, 3), "alpha": row.alpha, "include_top": include_top,
        **row.options, **arguments,
    }  # fmt: skip
    return Builder(registry.family(row.net).key, given)


def _repository_builder(asked: names.Repository, arguments: Mapping[str, Any]) -> Builder:
    """Return the builder of the net in a repository, at the commit that was found."""
    path = repository_file(asked.name, asked.revision)
    found = builder_of(path)
    commit = (source_of(path) or "").partition("@")[2]
    weights = str(replace(asked, revision=commit or asked.revision))
    return Builder(found.net, {**found.arguments, **arguments, "weights": weights})


def weights_of(builder: Builder) -> tuple[Builder, NetWeights]:
    """Return a builder with the net and its values; of a wrong guess, those of its file's own net.

    The file is asked for its net where it does not fit alone: that takes as long as to read it.

    Raises:
        ValueError: as `net_weights` does, and likewise the errors that it raises.
    """
    try:
        return builder, net_weights(builder)
    except CheckpointError:
        own = _of_its_file(builder) if builder.guesses else None
        if own is None:
            raise
    return own, net_weights(own)


def _of_its_file(builder: Builder) -> Builder | None:
    """Return the builder of a file's own net, in what was a guess; None where it has none.

    A file without the top that is wanted has none either.
    """
    try:
        own = builder_of(builder.arguments["weights"])
    except CheckpointError:
        return None
    given = {k: x for k, x in builder.arguments.items() if k not in builder.guesses}
    topless = not own.arguments["include_top"] and given.get("include_top", True)
    return None if topless else Builder(own.net, {**own.arguments, **given})


def net_weights(builder: Builder) -> NetWeights:
    """Return the net that a builder describes, with the values of its file of weights.

    Published weights are found or fetched, as for the Keras model. Of `weights="random"` are
    values such as a new Keras model has.

    Raises:
        ValueError: an argument has a wrong type or value.
        CheckpointError: the file of weights cannot be read or does not fit.
        DownloadError: the published weights are neither at hand nor to be fetched.
    """
    family = registry.family(builder.net)
    given = {**arguments.DEFAULTS, "weights": arguments.IMAGENET, **builder.arguments}
    activation = given.pop("classifier_activation")
    random = given["weights"] == RANDOM
    if given["weights"] is None:
        raise ValueError("A net without weights predicts nothing. Pass `weights`.")
    if random:
        given["weights"] = None
    given["weights"] = local_weights(given["weights"])
    checked = arguments.check(family, **given, data_format="channels_last", frames=2)
    path = path_of(checked)
    channels = checked.input_shape[-1]
    layers = functools.partial(checked.layers, size=checked.size, channels=channels)
    wanted = wanted_conventions(given)
    plain = layers(padding="keras")
    saved = None
    with opened_if_any(path, plain) as checkpoint:
        conventions = chosen_conventions(path, checkpoint, wanted, plain, checked.size, family)
        net = with_top_of(checkpoint, layers(padding=conventions.padding), checked)
        if path is None:
            arrays = random_arrays(net)
        else:
            arrays, saved = _read(path, checkpoint, net.arrays()), info_in(path, checkpoint)
    if saved and saved.activation and "classifier_activation" not in builder.arguments:
        activation = None if saved.activation == "linear" else saved.activation
    return NetWeights(
        family, net, arrays, conventions,
        checked.name or family.name, checked.size, activation,
        bool(given.get("include_preprocessing")), checked.hub, saved, source_of(path or ""),
    )  # fmt: skip


def opened_if_any(path: str | None, net: Net) -> AbstractContextManager[Any]:
    """Return what opens a file of a net's weights, or without a path yields None."""
    if path is None:
        return nullcontext()
    return open_checkpoint(path, unpacked_limit(net.arrays()))


def with_top_of(checkpoint: Checkpoint | None, net: Net, checked: arguments.Arguments) -> Net:
    """Return a net under the top that a file has values for.

    It is the net's own, but of a file whose classifier stands on the pool itself, as that of a
    fine-tuned MobileNetV3 or V4 does.
    """
    origin = registry.recognise(shapes_of(checkpoint.arrays)) if checkpoint else None
    if origin is None or not origin.on_pool or net.classifier is None:
        return net
    return checked.family.on_pool(net, net.classifier.channels, checked.name_prefix)


def _read(
    path: str, checkpoint: Checkpoint, expected: Mapping[str, Shape]
) -> dict[str, np.ndarray[Any, Any]]:
    dtypes = dict.fromkeys(expected, "float32")
    values, report = read_values(path, checkpoint, expected, dtypes, adapt_channels=True)
    logger.info("%s", report)
    return values


def random_arrays(net: Net, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Return arrays such as a new net has: kernels by Glorot's rule, batch norms that do nothing.

    Source: Glorot and Bengio, 2010.
    """
    random = np.random.default_rng(seed)
    values: dict[str, np.ndarray[Any, Any]] = {}
    for name, shape in net.arrays().items():
        variable = name.rpartition("/")[2]
        if variable == "kernel":
            window = prod(shape[:-2])
            limit = np.sqrt(6 / (window * (shape[-2] + shape[-1])))
            values[name] = random.uniform(-limit, limit, shape).astype(np.float32)
        else:
            ones = variable in ("gamma", "moving_variance")
            values[name] = np.full(shape, float(ones), np.float32)
    return values


def wanted_conventions(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conventions among a builder's arguments that the caller sets."""
    wanted = {name: given[name] for name in CONVENTIONS if given.get(name) is not None}
    if "epsilon" in wanted:
        wanted["epsilon"] = float(wanted["epsilon"])  # a NumPy float is no JSON
    return wanted


def chosen_conventions(
    path: str | None,
    checkpoint: Checkpoint | None,
    wanted: Mapping[str, Any],
    net: Net,
    size: tuple[Length, Length],
    family: Family,
) -> Conventions:
    """Return the conventions to build with: the caller's, else the file's, else the family's.

    `checkpoint` is the file, open; `wanted` is what the caller asks for; `net` is the one of the
    family's own padding.

    Raises:
        CheckpointError: the file follows others than the caller asks for.
    """
    file = None

    def are_one(known: Conventions, other: Conventions) -> bool:
        return known.fits(other, net.windows(size), family.zeros)

    if path is not None and checkpoint is not None:
        file = _file_conventions(path, checkpoint, wanted, are_one)
    known = file or family.conventions
    # Where the two are one function, the family's own graph serves a file from elsewhere.
    padded = replace(known, padding="keras")
    preferred = padded if are_one(known, padded) else known
    chosen = replace(preferred, **wanted)
    if path is not None and file and not are_one(file, chosen):
        raise CheckpointError(other_conventions(path, file, chosen, family.name))
    return chosen


def _file_conventions(
    path: str,
    checkpoint: Checkpoint,
    wanted: Mapping[str, Any],
    are_one: Callable[[Conventions, Conventions], bool],
) -> Conventions | None:
    """Return the file's conventions; of several, the one that goes with the arguments given."""
    if not checkpoint.candidates:
        return checkpoint.conventions
    fitting = [
        known
        for known in checkpoint.candidates.values()
        if wanted and are_one(known, replace(known, **wanted))
    ]
    if len(fitting) != 1:
        raise CheckpointError(undecided(path, checkpoint.candidates))
    return fitting[0]

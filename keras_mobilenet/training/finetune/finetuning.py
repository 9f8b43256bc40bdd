"""finetune(): a MobileNet for the user's own classes, in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from typing import Any

from keras_mobilenet.deploy.engines.choice import AUTO, KERAS
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.training import run_files
from keras_mobilenet.training.data.sources import read_source
from keras_mobilenet.training.finetune.feature_cache import FeatureCache
from keras_mobilenet.training.finetune.settings import ClassWeight, checked_settings
from keras_mobilenet.training.finetune.stages import Training
from keras_mobilenet.training.finetune.top_only import TopTraining, is_light
from keras_mobilenet.training.runs import ProgressCallback, Run, unreported
from keras_mobilenet.training.workers import SINGLE, Workers, count_in_tf_config, workers
from keras_mobilenet.transfer.trained_parts import TOP

AUTO_CACHE = "auto"


def finetune(
    data: Any,
    *,
    net: str = "mobilenet",
    alpha: float = 1.0,
    weights: str | PathLike[str] | None = "imagenet",
    size: int | tuple[int, int] = 224,
    channels: int = 3,
    train_from: str = TOP,
    epochs: int | None = None,
    views: int | None = None,
    validation: Any = 0.2,
    batch_size: int = 32,
    learning_rate: float | None = None,
    label_smoothing: float = 0.1,
    weight_decay: float = 1e-4,
    patience: int = 5,
    class_weight: ClassWeight = None,
    labels: Sequence[str] | None = None,
    multi_label: bool | None = None,
    seed: int = 0,
    out: str | PathLike[str] | None = None,
    cache: str | PathLike[str] | None = AUTO_CACHE,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
    progress: ProgressCallback = unreported,
    engine: str = AUTO,
    blocks: Sequence[Any] | None = None,
    preprocessing: Preprocessing | str | None = None,
    minimalistic: bool = False,
) -> Run:
    """Return a MobileNet that knows the classes of `data`, and how well.

    What lies under the part that trains is computed once for each view of each image, by a
    compiled engine, and kept. The classifier is trained on it first, to its optimum; where more
    than the top trains, the blocks from `train_from` on follow with a small rate, and the weights
    of the lowest validation loss are kept. Batch norms stay frozen: a few hundred images would
    spoil them. The same seed on the same machine gives the same numbers.

    With `TF_CONFIG` set, as for `tf.distribute.MultiWorkerMirroredStrategy`, the processes that it
    names train one net together: each computes its share of the features into the cache's folder,
    where the others read them - without a folder, each computes all - and its part of every batch
    of the second stage. The first stage's second of work is the chief's, as are the files. All but
    rounding is what one process would compute. The images, `out` and `cache` must be where all of
    them see them. When one stops, the others do with an error, and all, or one of them alone, can
    be started again with `resume`.

    Args:
        data: A folder with a folder of images for each class; a CSV file with the columns
            `path` and `label`; pairs of these; a pair of images, of shape `(count, height, width,
            channels)` or a list of arrays, and their classes; or a `tf.data.Dataset` of such
            pairs, as `image_dataset_from_directory` returns it, or a `keras.utils.PyDataset`.
            Images are `uint8`, or floats whose range is found: 0 to 255, 0 to 1 or -1 to 1.
            Classes are numbers from 0, of any type and also of shape `(count, 1)`; one-hot or
            multi-hot rows; or names. The model takes pixels from -1 to 1, whatever the data's
            range is.
        net: Which MobileNet, as `"mobilenet"`, `"mobilenet_v3_small"` or
            `"mobilenet_v4_conv_medium"`; `nets.families.registry` lists them.
        alpha: Width multiplier.
        weights: What to begin with: `"imagenet"`, a file of weights, or None for random values.
        size: `(height, width)` in pixels that whole images are resized to, or an int.
        channels: 3, or 1 for greys, to which the weights are adapted.
        train_from: `"top"` trains the classifier alone; `"block_13"` to `"block_1"` that block
            and all behind it; `"all"` everything.
        epochs: At most so many: of the second stage, or steps of the solver with `"top"`. None
            for the default.
        views: Views of each image to train on: 1 is the whole image, 2 adds the mirrored
            one, more add random parts. None is 1 for `"top"`, where a second view takes as long
            again for a point of accuracy at most, and 2 otherwise.
        validation: The share to validate with, or other data of the same kind, or None.
        batch_size: Images a step of the second stage.
        learning_rate: The highest of the second stage. None for the default.
        label_smoothing: Share of each target spread over all classes in the second stage.
        weight_decay: That of AdamW in the second stage.
        patience: Epochs without a lower validation loss after which the second stage ends.
        class_weight: `"balanced"`, or a weight for each class' name or number. In multi-label
            data it is that of the images of a class against one without the class.
        labels: The classes' names, for arrays; None for those that a data set has.
        multi_label: Whether an image may be of several classes or of none: classes are then rows
            with a 0 or 1 for each, or lists of names, and each class has a probability of its own.
            None is whether a row of the data is so; one-hot rows are single classes unless asked.
        seed: Fixes the split, the views and the order.
        out: A folder for the model, its history and its metrics, and the state to resume from.
        cache: A folder for what was computed. `"auto"` is one in `out`, or memory without it;
            None is memory.
        resume: Whether to resume the run in `out`.
        callbacks: Keras callbacks; their model is the part that trains.
        progress: Called with a `Progress` as the work goes on.
        engine: As for `Predictor`; `"auto"` is the fastest one installed.
        blocks: Those of a net of your own, as for its builder, with `weights` a file or None;
            `train_from` names them from `"block_1"` on.
        preprocessing: What was made of the pixels in arrays: a `Preprocessing`, or a text such
            as `"0..1"`, as for `Predictor`; `"none"` is 0 to 255. None is found in the values, or
            the error says that they may be of several ranges.
        minimalistic: V3 without squeeze-excite, 5 x 5 kernels and hard-swish.

    Returns:
        The model, its history and its outputs for the validation images.

    Raises:
        ValueError: an argument is wrong, the data are none, `out` holds another run or is in use,
            or the workers are not alike.
        CheckpointError: the file of weights cannot be read or does not fit.
        DownloadError: the published weights are neither at hand nor to be fetched.
        ConnectionError: another worker stopped. With `out`, what was done is kept.
        BackendError: `TF_CONFIG` names several workers, and Keras' backend is not TensorFlow.
        OSError: something cannot be written, as on a full disk. With `out`, what was done is kept.
    """
    settings = checked_settings(
        net=net, alpha=alpha, weights=weights, size=size, channels=channels, train_from=train_from,
        epochs=epochs, views=views, batch_size=batch_size, learning_rate=learning_rate,
        label_smoothing=label_smoothing, weight_decay=weight_decay, patience=patience,
        class_weight=class_weight, validation=validation, seed=seed, blocks=blocks,
        minimalistic=minimalistic,
    )  # fmt: skip
    together = _workers()  # before anything else uses TensorFlow
    folder = None if out is None else run_files.open_folder(out, resume=resume)
    place = (folder and folder / run_files.CACHE) if cache == AUTO_CACHE else cache
    source = read_source(
        data,
        validation=validation,
        seed=seed,
        labels=labels,
        multi_label=multi_label,
        preprocessing=preprocessing,
    )
    light = together is SINGLE and not callbacks and engine != KERAS and is_light(settings)
    make = TopTraining if light else _with_keras(callbacks)
    training = make(settings, source, folder, progress, engine, together)
    remedy = (
        "Start it again." if folder is None else f"{folder} holds what was done, to be resumed."
    )
    with run_files.locked(folder, together.chief), together.failures_as_errors(remedy):
        return training.run(FeatureCache(place))


def _with_keras(callbacks: Sequence[Any]) -> Callable[..., Training]:
    from keras_mobilenet.training.finetune.with_keras.training import (  # noqa: PLC0415
        KerasTraining,
    )

    return partial(KerasTraining, callbacks=callbacks)


def _workers() -> Workers:
    """Return the workers that `TF_CONFIG` names; one alone needs nothing of TensorFlow.

    Raises:
        ValueError: there are several, and the caller has chosen another strategy already.
        BackendError: there are several, and Keras' backend is not TensorFlow.
    """
    if count_in_tf_config() < 2:
        return SINGLE
    from keras_mobilenet.models.backends import import_tensorflow  # noqa: PLC0415 - Keras

    import_tensorflow("finetune() with the workers of TF_CONFIG")
    together = workers()
    if together.count == 1:
        raise ValueError(
            f"TF_CONFIG names {count_in_tf_config()} workers. Call finetune outside of any "
            "strategy's scope: it "
            "makes its own, as TF_CONFIG says."
        )
    return together

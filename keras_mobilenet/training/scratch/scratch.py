"""train(): a MobileNet from random weights."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from keras_mobilenet.models.backends import import_tensorflow, is_tensorflow
from keras_mobilenet.training import run_files
from keras_mobilenet.training.checks import check_data_format
from keras_mobilenet.training.data.datasets import read_dataset
from keras_mobilenet.training.data.views import MIN_AREA
from keras_mobilenet.training.runs import ProgressCallback, Run, unreported
from keras_mobilenet.training.scratch import options as published
from keras_mobilenet.training.scratch.options import checked_options
from keras_mobilenet.training.scratch.session import Session
from keras_mobilenet.training.workers import SINGLE, Workers, count_in_tf_config, workers


def train(
    data: Any,
    *,
    out: str | PathLike[str],
    net: str = "mobilenet",
    alpha: float = 1.0,
    size: int | tuple[int, int] = 224,
    validation: Any = 0.2,
    epochs: int = published.EPOCHS,
    batch_size: int = published.BATCH_SIZE,
    schedule: str = "paper",
    learning_rate: float = published.LEARNING_RATE,
    warmup: float = 0.0,
    weight_decay: float = published.WEIGHT_DECAY,
    label_smoothing: float = 0.0,
    ema: float | None = None,
    bn_momentum: float | None = None,
    min_area: float = MIN_AREA,
    mixed_precision: bool = False,
    seed: int = 0,
    resume: bool = False,
    tensorboard: bool = False,
    callbacks: Sequence[Any] = (),
    progress: ProgressCallback = unreported,
    blocks: Sequence[Any] | None = None,
    minimalistic: bool = False,
) -> Run:
    """Return a MobileNet that was trained from random weights on `data`, and how good it is.

    The defaults are the published recipe, as far as it is published;
    `keras_mobilenet.training.scratch.options` says which number is from where. After each epoch the
    state is written into `out`, from which a killed training goes on as if nothing had happened.
    The same seed on the same machine gives the same numbers. Images that cannot be read are
    reported, and others take their place.

    With `TF_CONFIG` set, as for `tf.distribute.MultiWorkerMirroredStrategy`, the processes that it
    names train one net together: each computes its part of every batch, batch norms take their
    statistics over the whole batch, and the chief writes the files. All but rounding is what one
    process would compute. `out` and the images must be where all of them see them. When one
    stops, the others do with an error, and all can be started again with `resume`.

    Args:
        data: A folder with a folder of images for each class; a CSV file with the columns
            `path` and `label`; or pairs of these.
        out: A folder for the model, its history, metrics and report, and the state.
        net: Which MobileNet, as `"mobilenet"`, `"mobilenet_v3_small"` or
            `"mobilenet_v4_conv_medium"`; `nets.families.registry` lists them. The recipe is V1's
            for all: V3's own has another schedule, and more augmentation; timm's files of V4 are of
            500 to 3600 epochs, as their names say.
        alpha: Width multiplier.
        size: `(height, width)` in pixels of the input, or an int.
        validation: The share to validate with, or other data of the same kind, or None. Of each
            image it is the centre, 0.875 of its sides, as the published accuracies are.
        epochs: How often each image is shown. A last batch that is not full is left out; the
            next epoch has others in it.
        batch_size: Images a step, of all workers together.
        schedule: How the rate falls: `"paper"`, times 0.94 each 2.5 epochs; `"cosine"`, to zero
            in the last step; `"constant"`.
        learning_rate: The highest.
        warmup: Epochs in which the rate rises to it.
        weight_decay: Adds half of it times the squared kernels to the loss, depthwise ones left
            out.
        label_smoothing: Share of each target spread over all classes.
        ema: What the weights' moving averages keep in each step; the averages are what is
            validated and saved. 0 for none. None is 0.9999, or less in a short training, whose
            averages reach over a twentieth of its steps.
        bn_momentum: What the batch norms' statistics keep. None is 0.9997, or less likewise.
        min_area: Share of an image that the part shown in training has at least; 1 shows whole
            images, mirrored or not.
        mixed_precision: Whether layers compute in bfloat16, for devices that are faster in it.
            Weights, and the model that is saved, are float32.
        seed: Fixes the split, the weights, the order and the parts.
        resume: Whether to resume the run in `out`.
        tensorboard: Whether to write loss, accuracy and rate for TensorBoard into
            `out/tensorboard`; needs the extra `tensorboard`.
        callbacks: Keras callbacks, on every worker; their model is the net that trains.
        progress: Called with a `Progress` as the work goes on.
        blocks: Those of a net of your own, of the net's own kind, as for its builder.
        minimalistic: V3 without squeeze-excite, 5 x 5 kernels and hard-swish.

    Returns:
        The model, its history and its outputs for the validation images.

    Raises:
        ValueError: an argument is wrong, the data are none, `out` holds another run or is in use,
            the workers are not alike, or the data format is not `"channels_last"`.
        ImageError: many images in a row cannot be read.
        FloatingPointError: the loss is not finite any more; the state of the epoch before is kept.
        ConnectionError: another worker stopped; the state of the last epoch is kept.
        BackendError: `TF_CONFIG` names several workers, and Keras' backend is not TensorFlow.
        OSError: something cannot be written, as on a full disk. What was done is kept.
        ImportError: TensorBoard is asked for and not installed.

    Source: Howard et al., 2017, arXiv 1704.04861, section 3.2; TF-slim.
    """
    options = checked_options(
        net=net, alpha=alpha, size=size, epochs=epochs, batch_size=batch_size, schedule=schedule,
        learning_rate=learning_rate, warmup=warmup, weight_decay=weight_decay,
        label_smoothing=label_smoothing, ema=ema, bn_momentum=bn_momentum, min_area=min_area,
        mixed_precision=mixed_precision, seed=seed, validation=validation, blocks=blocks,
        minimalistic=minimalistic,
    )  # fmt: skip
    check_data_format("train")
    folder = run_files.open_folder(out, resume=resume)
    dataset = read_dataset(data, validation=validation, seed=seed)
    together = _workers()  # before anything else uses TensorFlow
    with run_files.locked(folder, together.chief):
        session = Session(options, dataset, folder, together, callbacks, progress, tensorboard)
        return session.run()


def _workers() -> Workers:
    """Return the workers that `TF_CONFIG` names; under another backend there is this process only.

    Raises:
        ValueError: `TF_CONFIG` names others than workers, or TensorFlow was used before.
        BackendError: there are several, and Keras' backend is not TensorFlow.
    """
    if is_tensorflow():
        return workers()
    if count_in_tf_config() > 1:
        import_tensorflow("train() with the workers of TF_CONFIG")
    return SINGLE

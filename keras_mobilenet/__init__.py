"""MobileNet for Keras: the drop-in, its weights, its summary and its costs.

The public names are loaded when first used: `import keras_mobilenet` loads neither Keras nor
TensorFlow.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_mobilenet.checkpoints.inspection import convert_weights, inspect_weights
    from keras_mobilenet.checkpoints.loading import load_weights, save_weights
    from keras_mobilenet.deploy.exporting import export
    from keras_mobilenet.deploy.graphs.folding import fold_batch_norm
    from keras_mobilenet.deploy.predictor import Predictor
    from keras_mobilenet.display.diagrams import plot_model
    from keras_mobilenet.display.summaries import summary
    from keras_mobilenet.images.pixel_scaling import Preprocessing
    from keras_mobilenet.mobilenet import MobileNet
    from keras_mobilenet.models.model_files import preprocessing_of, set_preprocessing
    from keras_mobilenet.models.preprocessing import (
        decode_predictions,
        preprocess_input,
        scale_pixels,
    )
    from keras_mobilenet.nets.costs.latency import estimate_latency
    from keras_mobilenet.nets.costs.layers import layer_costs
    from keras_mobilenet.nets.costs.memory import peak_memory
    from keras_mobilenet.nets.costs.selection import select_variant
    from keras_mobilenet.training.finetune.finetuning import finetune
    from keras_mobilenet.training.finetune.probing import probe
    from keras_mobilenet.training.scratch.scratch import train
    from keras_mobilenet.transfer.activation_maps import cam
    from keras_mobilenet.transfer.freezing import freeze
    from keras_mobilenet.transfer.pyramids import features
    from keras_mobilenet.transfer.tops import replace_top

__all__ = [
    "MobileNet",
    "Predictor",
    "Preprocessing",
    "cam",
    "convert_weights",
    "decode_predictions",
    "estimate_latency",
    "export",
    "features",
    "finetune",
    "fold_batch_norm",
    "freeze",
    "inspect_weights",
    "layer_costs",
    "load_weights",
    "peak_memory",
    "plot_model",
    "preprocess_input",
    "preprocessing_of",
    "probe",
    "replace_top",
    "save_weights",
    "scale_pixels",
    "select_variant",
    "set_preprocessing",
    "summary",
    "train",
]

_MODULES = {
    "MobileNet": "mobilenet",
    "Predictor": "deploy.predictor",
    "Preprocessing": "images.pixel_scaling",
    "cam": "transfer.activation_maps",
    "convert_weights": "checkpoints.inspection",
    "decode_predictions": "models.preprocessing",
    "estimate_latency": "nets.costs.latency",
    "export": "deploy.exporting",
    "features": "transfer.pyramids",
    "finetune": "training.finetune.finetuning",
    "fold_batch_norm": "deploy.graphs.folding",
    "freeze": "transfer.freezing",
    "inspect_weights": "checkpoints.inspection",
    "layer_costs": "nets.costs.layers",
    "load_weights": "checkpoints.loading",
    "peak_memory": "nets.costs.memory",
    "plot_model": "display.diagrams",
    "preprocess_input": "models.preprocessing",
    "preprocessing_of": "models.model_files",
    "probe": "training.finetune.probing",
    "replace_top": "transfer.tops",
    "save_weights": "checkpoints.loading",
    "scale_pixels": "models.preprocessing",
    "select_variant": "nets.costs.selection",
    "set_preprocessing": "models.model_files",
    "summary": "display.summaries",
    "train": "training.scratch.scratch",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("keras-mobilenet")
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]

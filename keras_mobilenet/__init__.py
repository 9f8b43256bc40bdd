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
    from keras_mobilenet.costs import layer_costs
    from keras_mobilenet.deploy.exporting import export
    from keras_mobilenet.deploy.folding import fold_batch_norm
    from keras_mobilenet.deploy.predictor import Predictor
    from keras_mobilenet.diagrams import plot_model
    from keras_mobilenet.latency import estimate_latency
    from keras_mobilenet.memory import peak_memory
    from keras_mobilenet.mobilenet import MobileNet
    from keras_mobilenet.model_files import preprocessing_of, set_preprocessing
    from keras_mobilenet.pixel_scaling import Preprocessing
    from keras_mobilenet.preprocessing import decode_predictions, preprocess_input, scale_pixels
    from keras_mobilenet.pyramids import features
    from keras_mobilenet.tables import summary
    from keras_mobilenet.training.scratch import train
    from keras_mobilenet.transfer.activation_maps import cam
    from keras_mobilenet.transfer.finetuning import finetune
    from keras_mobilenet.transfer.freezing import freeze
    from keras_mobilenet.transfer.probing import probe
    from keras_mobilenet.transfer.tops import replace_top
    from keras_mobilenet.variants import select_variant

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
    "Preprocessing": "pixel_scaling",
    "cam": "transfer.activation_maps",
    "convert_weights": "checkpoints.inspection",
    "decode_predictions": "preprocessing",
    "estimate_latency": "latency",
    "export": "deploy.exporting",
    "features": "pyramids",
    "finetune": "transfer.finetuning",
    "fold_batch_norm": "deploy.folding",
    "freeze": "transfer.freezing",
    "inspect_weights": "checkpoints.inspection",
    "layer_costs": "costs",
    "load_weights": "checkpoints.loading",
    "peak_memory": "memory",
    "plot_model": "diagrams",
    "preprocess_input": "preprocessing",
    "preprocessing_of": "model_files",
    "probe": "transfer.probing",
    "replace_top": "transfer.tops",
    "save_weights": "checkpoints.loading",
    "scale_pixels": "preprocessing",
    "select_variant": "variants",
    "set_preprocessing": "model_files",
    "summary": "tables",
    "train": "training.scratch",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("keras-mobilenet")
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]

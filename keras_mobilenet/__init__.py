"""MobileNet for Keras: the drop-in, its weights, its summary and its costs.

The public names are loaded when first used: `import keras_mobilenet` loads neither Keras nor
TensorFlow. Type checkers read `__init__.pyi`.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Large": "mobilenet_v3",
    "MobileNetV3Small": "mobilenet_v3",
    "MobileNetV4ConvLarge": "mobilenet_v4",
    "MobileNetV4ConvMedium": "mobilenet_v4",
    "MobileNetV4ConvSmall": "mobilenet_v4",
    "MobileNetV4HybridLarge": "mobilenet_v4",
    "MobileNetV4HybridMedium": "mobilenet_v4",
    "Predictor": "deploy.predictor",
    "Preprocessing": "images.pixel_scaling",
    "cam": "transfer.activation_maps",
    "convert_weights": "checkpoints.inspection",
    "decode_predictions": "models.preprocessing",
    "estimate_latency": "nets.costs.latency",
    "evaluate": "evaluation.evaluating",
    "export": "deploy.exporting",
    "features": "transfer.pyramids",
    "finetune": "training.finetune.finetuning",
    "fold_batch_norm": "deploy.graphs.traced.folding",
    "freeze": "transfer.freezing",
    "from_pretrained": "checkpoints.building",
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
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - takes longer than all else here

        return version("keras-mobilenet")
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]

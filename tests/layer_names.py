"""Names of a model's layers, without the numbers of the process' counters."""

COUNTED = ("InputLayer", "Rescaling", "GlobalAveragePooling2D", "GlobalMaxPooling2D")


def fixed_names(model):
    """Return a name a layer: its own, or its class where Keras counts layers of that class."""
    kinds = [(layer.name, type(layer).__name__) for layer in model.layers]
    return [kind if kind in COUNTED else name for name, kind in kinds]

"""From a Keras model to what is shipped: folded, quantized, compiled, exported, checked."""

"""From a Keras model to what is shipped: folded, quantised, compiled, exported, checked."""

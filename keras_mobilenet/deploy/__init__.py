"""From a Keras model to what is shipped: folded, quantized, compiled, exported, compared.

`predictor.py` runs a model on this machine and `exporting.py` writes a file for another one; both
take a model's graph from `graphs/` and a runtime from `engines/`. Imports `models`, `checkpoints`
and `display`, and Keras.
"""

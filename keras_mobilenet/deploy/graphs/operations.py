"""A graph as a runtime computes it: operations with their values, written down for no format yet.

Neither Keras nor a runtime is imported. `net_graph` makes one of a net and its arrays,
`keras_graph` of a Keras model's configuration; `writers` turns one into a file's content.
"""

from __future__ import annotations

INPUT, OUTPUT = "input", "output"  # the tensors' names in every format
SIGNATURE = "serving_default"

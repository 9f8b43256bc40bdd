"""Keras models: how a net becomes one, and how a net is found within one.

`graph.py` makes every layer and `parts.py` finds the net. Imports `formats`, `images`, and Keras.
"""

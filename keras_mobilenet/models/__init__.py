"""Keras models: how a net becomes one, and how a net is found within one.

Imports `formats` and `images`.
"""

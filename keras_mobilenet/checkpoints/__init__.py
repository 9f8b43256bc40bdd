"""Between files of weights and models: load, save, inspect and convert.

Imports `formats` and `models`.
"""

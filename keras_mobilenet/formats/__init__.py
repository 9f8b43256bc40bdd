"""A file's bytes as arrays under our names, with its source's conventions; one module a format.

A format's module offers `read(path, max_bytes)`, a context manager that yields a `Checkpoint`.
`registry.py` lists the formats and recognises a file by its content. Imports `nets`, and no Keras.
"""

"""A file's bytes as arrays under our names, with its source's conventions; imports `nets`.

A format's module offers `read(path, max_bytes)`, a context manager that yields a `Checkpoint`.
`registry.py` recognises a file by its content and picks the module.
"""

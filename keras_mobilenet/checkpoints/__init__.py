"""Files of weights: one module a format, one waist for all.

A format's module offers `read(path, max_bytes)`, a context manager that yields a `Checkpoint`:
the file's arrays under our names, and the source's conventions. `registry.py` recognises a file by
its content and picks the module; `loading.py` carries arrays into a model and out of it.
"""

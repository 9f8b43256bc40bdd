"""Between files of weights and models: load, save, inspect and convert.

What the bytes of a file mean is in `formats`. Imports `formats` and `models`, and no Keras itself:
it asks the model that it is given.
"""

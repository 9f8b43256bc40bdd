"""Image files to pixels, their preprocessing and their class names.

Imports `nets`, and no Keras.
"""

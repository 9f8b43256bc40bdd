"""Keras' own files of weights: HDF5 in both layouts, and zip archives around them."""

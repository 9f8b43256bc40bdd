"""Labelled images: how people list them, and which output of a model each class is."""

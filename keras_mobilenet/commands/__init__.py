"""The command line, one file a group of commands; the only place that prints.

Imports everything, but Keras and TensorFlow only within the commands that need them.
"""

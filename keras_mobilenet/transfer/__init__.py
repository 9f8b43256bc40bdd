"""What a model is changed to, or read for, on the way to a new task.

Freezing, new tops, features at several strides and class-activation maps; what trains is in
`training`. Imports `models`, and Keras.
"""

"""What a model is changed to, or read for, on the way to a new task; imports `models`.

Freezing, new tops, features at several strides and class-activation maps; nothing trains here.
"""

"""ONNX: a graph's nodes, what each tensor is of the convolutions, and the weights of the net."""

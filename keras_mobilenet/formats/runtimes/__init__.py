"""Models converted for a runtime, read for their weights: TFLite, ONNX, TensorFlow.js."""

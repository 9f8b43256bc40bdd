"""TensorFlow's own files, as TF-slim wrote them: checkpoints and frozen graphs."""

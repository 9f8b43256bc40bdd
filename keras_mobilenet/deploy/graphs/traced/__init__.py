"""From a Keras model, by Keras and TensorFlow: copy, fold, correct, convert."""

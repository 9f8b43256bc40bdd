"""A net from random weights: the published training on a user's own images."""

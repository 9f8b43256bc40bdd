"""MobileNet V1 from random weights: the published recipe on a user's own images."""

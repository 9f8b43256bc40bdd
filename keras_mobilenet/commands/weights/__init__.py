"""The commands `keras-mobilenet weights ...`."""

"""`python -m keras_mobilenet` is the command `keras-mobilenet`."""

from keras_mobilenet.cli import main

main()

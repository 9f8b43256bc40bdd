"""`python -m keras_mobilenet` is the command `keras-mobilenet`."""

from keras_mobilenet.commands.app import main

main()

"""The runtimes that a model is compiled for, one file each, and which one is taken."""

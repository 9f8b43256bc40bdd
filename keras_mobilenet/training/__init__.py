"""Training, and the runs that it leaves.

`finetune/` begins with published weights, `scratch/` with random ones, and both read what users
have through `data/`. Imports `evaluation`, and Keras.
"""

"""Published files of weights on Hugging Face's hub: a row for each, with what its publisher states.

Google's own files for Keras are the rows of `nets/pretrained.py`.
"""

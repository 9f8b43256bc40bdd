"""A static web page that recognises images in the browser: the files beside its model."""

"""The net on a user's own classes: the classifier first, then the last blocks."""

"""Weights that others published: found where they lie, fetched, and verified."""

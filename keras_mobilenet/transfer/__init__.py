"""The net on a user's own classes: what trains, the new top, what it looks at, and the pictures.

Each module changes or reads one thing of a model, or reads one thing from disk; none trains.
"""

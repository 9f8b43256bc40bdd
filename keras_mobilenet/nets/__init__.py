"""What each MobileNet is, as data; imports the standard library alone.

`net.py` says what a net is: a graph of named layers. `v1.py` holds V1's table, `families.py` lists
the nets, `pretrained.py` the published weights, and `costs/` counts what a net costs.
"""

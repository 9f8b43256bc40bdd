"""What each MobileNet is, as data; imports the standard library alone.

`net.py` says what a net is: a graph of named layers. `families/` holds the papers' tables and lists
the nets, `conventions.py` says what sources did and shapes cannot show, `pretrained.py` has the
published weights, `arguments.py` checks the builders', and `costs/` counts what a net costs.
"""

"""What each MobileNet is, as data; imports the standard library alone.

`net.py` says what a net is: a graph of named layers. `v1.py`, `v2.py` and `v3.py` hold the papers'
tables, `conventions.py` says what sources did and shapes cannot show, `families.py` lists the nets,
`pretrained.py` the published weights, `arguments.py` checks the builders', and `costs/` counts what
a net costs.
"""

"""The MobileNets: the paper's table of each, and how a net of it is made and recognised.

`registry.py` lists them, and finds the one that has some layers or arrays.
"""

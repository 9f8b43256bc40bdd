"""How fast a model is here, in each engine, and how fast this machine is."""

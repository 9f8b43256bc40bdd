"""How good a model is: metrics, and the report on them; imports `transfer` and `deploy`."""

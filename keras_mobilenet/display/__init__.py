"""What a net or a model looks like: summaries, tables, diagrams, charts, as text or as files.

Imports `models`, and Keras to draw a Keras model. It returns text; `commands` prints it.
"""

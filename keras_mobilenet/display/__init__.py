"""What a net or a model looks like: summaries, tables, diagrams, charts; imports `models`."""

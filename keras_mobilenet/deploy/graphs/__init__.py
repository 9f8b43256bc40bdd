"""A model's graph made ready for a runtime, and written in the runtime's format."""

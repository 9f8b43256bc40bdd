"""A graph of operations as a runtime's file or model: one format a module."""

"""A training's report: one HTML file that opens anywhere, offline."""

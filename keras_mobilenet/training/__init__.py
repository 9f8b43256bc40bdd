"""Training, and the runs that it leaves; imports `evaluation`."""

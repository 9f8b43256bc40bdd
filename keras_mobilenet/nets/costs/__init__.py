"""What a net costs, read off its layers: MACs, parameters, memory, time, and which to take."""

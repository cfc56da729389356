"""The old name of `graph_simulator`."""

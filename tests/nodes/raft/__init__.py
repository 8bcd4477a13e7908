"""The consensus of the nodes: its core in a simulated network, its disk, its wires, and itself."""

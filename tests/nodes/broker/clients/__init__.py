"""Real clients on a real cluster of three nodes."""

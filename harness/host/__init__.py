"""The effect boundary: what a node program may do."""

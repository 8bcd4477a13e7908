"""Generators: which operation comes next, as immutable values."""

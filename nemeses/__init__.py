"""One module a family of faults."""

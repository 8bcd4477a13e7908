"""One module a system under test: how it starts, when it is ready, who leads."""

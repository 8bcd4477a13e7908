"""The project's own servers, run as `python -m nodes.NAME`."""

"""Benchmarks. Each says what its timer covers; run one by `pytest -m bench -s tests/bench/…`."""

"""How fast transactions over registers are judged.

Run: pytest -m bench -s tests/bench/bench_rw_register.py

The histories are those of `bench_list_append`, with writes for appends. In the broken one a
transaction reads one key as its last writer left it, and another as that writer had read it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.bench_list_append import checked, recorded

pytestmark = pytest.mark.bench


@pytest.mark.parametrize(("txns", "most_s"), [(100_000, 0.6), (1_000_000, 6.0)])
def test_registers_are_judged_in_time(tmp_path: Path, txns: int, most_s: float) -> None:
    path = recorded(tmp_path / f"valid-{txns}.jsonl", txns, registers=True)
    found = checked(path, "rw_register")
    assert found["outcome"] == "VALID"
    assert found["check_s"] <= most_s and found["peak_mb"] <= 2048


def test_linearizable_keys_are_judged_in_time(tmp_path: Path) -> None:
    path = recorded(tmp_path / "valid-100000.jsonl", 100_000, registers=True)
    found = checked(path, "rw_register", "linearizable-keys=true")
    assert found["outcome"] == "VALID" and found["check_s"] <= 5


@pytest.mark.parametrize(("txns", "most_s"), [(100_000, 1.6), (1_000_000, 7.0)])
def test_one_planted_stale_read_is_found_and_nothing_else(
    tmp_path: Path, txns: int, most_s: float
) -> None:
    path = recorded(tmp_path / f"stale-{txns}.jsonl", txns, flaw=True, registers=True)
    found = checked(path, "rw_register")
    assert found["counts"] == {"G-single": 1}
    assert found["check_s"] <= most_s and found["peak_mb"] <= 2048

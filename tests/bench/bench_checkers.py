"""How fast histories are judged: the rows of `harness.bench.rows`, each with its targets.

Run: pytest -m bench -s tests/bench/bench_checkers.py. Timer: see `harness.bench.measure`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.bench.command import measured
from harness.bench.page import HEAD, shown
from harness.bench.rows import GROWTH_MAX, ROWS, Row

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_meets_its_targets(row: Row, tmp_path: Path) -> None:
    line = measured(row, tmp_path, None)
    print(f"\n{HEAD}\n{shown(line)}")
    assert not list(line.missed())


@pytest.mark.parametrize("name", ["register, one key", "list-append, long", "rw-register", "log"])
def test_twice_the_operations_take_at_most_2_3_times_as_long(name: str, tmp_path: Path) -> None:
    """Timer: the check, best of three processes each, at 250,000 operations and at half of them."""
    (row,) = (row for row in ROWS if row.name == name)
    line = measured(row, tmp_path, None, 250_000)
    print(f"\n{name}: {line.growth:.2f} times" if line.growth else name)
    assert line.growth is not None and line.growth <= GROWTH_MAX

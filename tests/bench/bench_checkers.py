"""How fast histories are judged: the rows of `harness.bench.rows`, each with its targets.

Run: pytest -m bench -s tests/bench/bench_checkers.py. Timer: see `harness.bench.measure`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.bench.command import measured
from harness.bench.page import HEAD, shown
from harness.bench.rows import ROWS, Row

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_meets_its_targets(row: Row, tmp_path: Path) -> None:
    line = measured(row, tmp_path, None)
    print(f"\n{HEAD}\n{shown(line)}")
    assert not list(line.missed())

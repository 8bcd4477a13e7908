"""The table of the zoo: how soon each bug was found, and how small its run got."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.cli import main
from harness.explore.command import is_enough
from harness.explore.once import Result
from harness.explore.zoo import HEAD, HEAD_SHRUNK, Row
from harness.verdict import Outcome

SHRUNK = {
    "before": {"operations": 400, "faults": 4, "nodes": 3, "threads": 6, "ms": 9000},
    "after": {"operations": 2, "faults": 1, "nodes": 3, "threads": 1, "ms": 900},
    "runs": 31,
    "took_s": 12.4,
    "out of time": False,
}


def test_a_row_has_as_many_columns_as_its_head() -> None:
    row = Row("K02", "hw-on-append", "lost-write", 4, 5, 3.21)
    assert str(row) == "| K02 | `hw-on-append` | lost-write (seed 4) | 5 | 3.2 |"
    shrunk = replace(row, shrunk=SHRUNK)
    assert str(shrunk).endswith("| 3.2 | 400 → 2 | 4 → 1 | 3 → 3 | 9000 → 900 | 12 s, 31 runs |")
    for line, head in ((str(row), HEAD), (str(shrunk), HEAD_SHRUNK)):
        assert line.count("|") == head.partition("\n")[0].count("|")


def test_what_was_cut_short_is_an_upper_bound_and_says_so() -> None:
    row = Row("K02", "a", "lost-write", 4, 5, 3.2, {**SHRUNK, "out of time": True})
    assert str(row).endswith("| ≤ 12 s, 31 runs |")


@pytest.mark.parametrize(
    ("until", "enough"),
    [
        (None, False),
        ("any", True),
        ("lost-write", True),
        ("unseen,lost-write", True),
        ("un", False),
    ],
)
def test_an_exploration_ends_with_the_anomaly_that_is_waited_for(
    until: str | None, enough: bool
) -> None:
    found = Result(3, Outcome.INVALID, (("lost-write", "message 3 is gone"),))
    assert is_enough(found, until) is enough
    assert not is_enough(Result(4, Outcome.VALID), until)


def test_only_all_bugs_are_shrunk_as_they_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "--bug", "hw-on-append", "--shrink", "5"]) == 2
    assert "`assay shrink`" in capsys.readouterr().err

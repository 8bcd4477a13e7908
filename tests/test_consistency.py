"""Several models may be promised at once, and anomalies besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import cli, consistency
from harness.errors import UsageError
from harness.guarantees import derive
from harness.history import Recorder
from harness.op import Kind


def test_of_several_models_each_forbids_what_it_forbids() -> None:
    both = consistency.find("PL-SI,strong-PL-2")
    assert both == "snapshot-isolation,strong-read-committed"
    assert consistency.forbidden(both) == consistency.forbidden(
        "snapshot-isolation"
    ) | consistency.forbidden("strong-read-committed")
    assert consistency.find("PL-SI,PL-8") is None and consistency.find("") is None


@pytest.fixture
def skewed(tmp_path: Path) -> Path:
    """Two transactions that do not see each other: write skew, and no more."""
    told = [[["r", "x", []], ["append", "y", 1]], [["r", "y", []], ["append", "x", 1]]]
    recorder = Recorder(tmp_path / "history.jsonl")
    asked = [[[f, k, None if f == "r" else v] for f, k, v in txn] for txn in told]
    for process, txn in enumerate(asked):
        recorder.record(process, Kind.INVOKE, process, "txn", txn)
    for process, txn in enumerate(told):
        recorder.record(2 + process, Kind.OK, process, "txn", txn)
    last: list[Any] = [["r", "x", [1]], ["r", "y", [1]]]
    recorder.record(5, Kind.INVOKE, 2, "txn", [["r", "x", None], ["r", "y", None]])
    recorder.record(6, Kind.OK, 2, "txn", last)
    recorder.close()
    return recorder.path


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["consistency-model=snapshot-isolation"], 0),
        (["consistency-model=snapshot-isolation,PL-2.99"], 1),
        (["consistency-model=snapshot-isolation", "anomalies=G2-item"], 1),
        (["consistency-model=snapshot-isolation", "anomalies=G1,lost-update"], 0),
        (["consistency-model=snapshot-isolation,PL-7"], 2),
        (["anomalies=G7"], 2),
    ],
)
def test_the_command_line_takes_several_models_and_anomalies_besides(
    skewed: Path, options: list[str], status: int
) -> None:
    given = [word for option in options for word in ("-o", option)]
    assert cli.main(["check", str(skewed), "--workload", "append", *given]) == status


def test_what_is_named_besides_is_in_the_stored_contract() -> None:
    promises = {"consistency-model": "read-committed", "anomalies": "G1,lost-update"}
    contract = derive("append", promises, "derived")
    rules = contract.to_json()["anomalies"]
    assert rules["lost-update"] == {"here": "forbidden", "because": "anomalies: it is named"}
    assert rules["G-single"]["here"].startswith("legal") and "" not in rules
    assert type(contract).from_json(contract.to_json()) == contract
    with pytest.raises(UsageError, match=r"expected some of G0, .*, G1, divided by commas"):
        derive("wr", {"anomalies": "G1a,nothing"}, "strict")

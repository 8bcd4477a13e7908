"""`assay check` says of each golden history what is written beside it."""

from __future__ import annotations

import json

import pytest

from harness.cli import main
from harness.verdict import Outcome
from tests.golden import Golden, golden


@pytest.mark.parametrize("one", golden(), ids=lambda one: one.file.stem)
def test_the_command_line_says_the_same(one: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    options = [word for name, value in one.options.items() for word in ("-o", f"{name}={value}")]
    status = main(["check", str(one.file), "--workload", one.workload, "--json", *options])
    told = json.loads(capsys.readouterr().out)
    assert status == Outcome[one.verdict.upper()].exit_status
    assert sorted(told["anomalies"]) == sorted(one.anomalies)
    assert all(not found["examples"][0].get("reason") for found in told["anomalies"].values())

"""`assay check` says of each golden history what is written beside it."""

from __future__ import annotations

import json

import pytest

from harness.cli import main
from harness.verdict import Outcome
from tests.golden import Golden, golden


def options(one: Golden) -> list[str]:
    return [word for name, value in one.options.items() for word in ("-o", f"{name}={value}")]


@pytest.mark.parametrize("one", golden(), ids=lambda one: one.file.stem)
def test_the_command_line_says_the_same(one: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["check", str(one.file), "--workload", one.workload, "--json", *options(one)])
    told = json.loads(capsys.readouterr().out)
    assert status == Outcome[one.verdict.upper()].exit_status
    assert sorted(told["anomalies"]) == sorted(one.anomalies)
    assert all(not found["examples"][0].get("reason") for found in told["anomalies"].values())


@pytest.mark.parametrize(
    "one", [one for one in golden() if one.says], ids=lambda one: one.file.stem
)
def test_a_person_is_told_these_lines(one: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", str(one.file), "--workload", one.workload, *options(one)])
    lines = capsys.readouterr().out.splitlines()
    first = next(at for at, line in enumerate(lines) if line.strip() == one.says[0])
    assert [line.strip() for line in lines[first : first + len(one.says)]] == list(one.says)

"""README.md names what there is: every option, fault and target, and no other."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import msgspec
import pytest

from harness import catalog, cli
from nemeses.grudges import GRUDGES
from nemeses.links import BEHAVIOURS
from nemeses.targets import SYMBOLS
from systems.broker import LIBRARIES
from workloads.log import Options

TEXT = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
FIRST_CELLS = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| ")]
NAMED = set(re.findall(r"`([^`]+)`", " ".join(FIRST_CELLS)))


def run_flags() -> set[str]:
    commands = next(
        action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    actions = commands.choices["run"]._actions
    flags = {flag for action in actions for flag in action.option_strings}
    return {flag for flag in flags if flag.startswith("--")} - {"--help"}


def test_every_option_of_run_is_there_and_no_other() -> None:
    assert {name for name in NAMED if name.startswith("--")} - {"--nemesis", "--client"} == (
        run_flags() - {"--nemesis", "--client"}
    )


def test_every_option_of_the_workload_is_there() -> None:
    assert {field.encode_name for field in msgspec.structs.fields(Options)} <= NAMED


@pytest.mark.parametrize(
    "name",
    [*catalog.OWN["nemeses"], *GRUDGES, *BEHAVIOURS, *SYMBOLS, *LIBRARIES, *catalog.OWN["systems"]],
)
def test_every_name_is_there(name: str) -> None:
    assert name == "none" or f"`{name}`" in TEXT or name in re.findall(r"[\w-]+", TEXT)

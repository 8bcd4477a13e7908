"""The broker's own page says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import checkers.crash
import checkers.log
import checkers.quorum
from harness.guarantees import FORBIDDEN
from nodes.broker.config import DEFAULTS
from nodes.broker.configs import TOPIC_CONFIGS
from nodes.broker.wire import APIS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "nodes/broker/README.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a row of headings."""
    _, _, rest = TEXT.partition(f"\n{heading}\n")
    assert rest, f"there is no table {heading}"
    found = []
    for line in rest.splitlines()[1:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_the_apis_are_those_that_are_served() -> None:
    assert rows("| API | key | versions |") == [
        [api.name, str(api.key), f"{api.low}–{api.high}"]
        for api in sorted(APIS.values(), key=lambda api: api.key)
    ]


def test_the_options_have_their_defaults() -> None:
    assert rows("| option | default |") == [
        [f"`{name}`", str(default).lower()] for name, default in sorted(DEFAULTS.items())
    ]
    assert rows("| topic's config | default |") == [
        [f"`{name}`", default] for name, (default, _) in sorted(TOPIC_CONFIGS.items())
    ]


def test_every_promise_names_an_anomaly_that_its_checker_knows() -> None:
    promises = rows("| promise | checker: anomaly |")
    assert len(promises) > 10
    for promise, judge in promises:
        name, _, anomalies = judge.partition(": ")
        module = getattr(checkers, name.strip("`").removeprefix("checkers."))
        anomalies = re.sub(r"\(.*?\)|under power loss", "", anomalies)
        for anomaly in filter(None, re.split(r"[,\s]+", anomalies)):
            assert f"    {anomaly} " in str(module.__doc__), f"{promise}: {anomaly}"
            assert anomaly in FORBIDDEN or anomaly == "crash"

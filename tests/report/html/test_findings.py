"""Findings as the page tells them."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from harness.history import History
from harness.report.html import faults, findings
from harness.report.html.logs import Logs
from harness.timeline import parse
from harness.verdict import Finding, Outcome, Verdict
from tests.report.html.test_markup import Parsed

HISTORY = History.of(
    parse(
        """
        c0: |-- send [["send",0,7]] -> [["send",0,[0,7]]] --|
        c1:                                                    |-- poll [["poll"]] --|
        """
    )
)
LOST = Finding("lost-write", "7 is gone", ("op 1: it was there", "however, it is gone"), (0, 1))
CONTRACT = {
    "anomalies": {
        "lost-write": {"here": "legal after a kill", "because": "acks=1"},
        "crash": {"here": "forbidden", "because": "a node runs"},
    }
}


def page(verdict: Verdict) -> str:
    anomalies = findings.of_verdict(verdict.to_json())
    broken = faults.read(HISTORY, ())
    return findings.render(anomalies, HISTORY, broken, Logs(Path("nowhere"), None), CONTRACT)


def test_findings_are_numbered_through_and_forbidden_ones_come_first() -> None:
    verdict = Verdict(
        Outcome.INVALID,
        findings=(LOST, LOST, Finding("crash", "n1 ended")),
        allowed=(Finding("duplicate", "twice", reason="legal"),),
    )
    anomalies = findings.of_verdict(verdict.to_json())
    assert [(a.name, a.kind, a.count) for a in anomalies] == [
        ("lost-write", "forbidden", 2),
        ("crash", "forbidden", 1),
        ("duplicate", "allowed", 1),
    ]
    ids = [shown.id for anomaly in anomalies for shown in anomaly.shown]
    assert ids == ["finding-1", "finding-2", "finding-3", "finding-4"]


def test_every_id_is_there_once_and_every_link_leads_somewhere() -> None:
    both = Verdict(Outcome.INVALID, findings=(LOST, LOST), allowed=(LOST,))
    parsed = Parsed(page(both))
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) == 5
    links = {attributes["href"] for tag, attributes in parsed.tags if tag == "a"}
    assert links == {"#op-0", "#op-1", "#timeline"}


def test_a_finding_has_its_sentences_its_operations_and_a_way_to_the_timeline() -> None:
    html = page(Verdict.of([LOST]))
    assert "<summary>7 is gone</summary>" in html
    assert '<li><a class=op href="#op-1">op 1</a>: it was there</li>' in html
    assert 'data-finding="finding-1"' in html
    assert "|-- send [[&quot;send&quot;,0,7]]" in html


def test_the_contract_says_why_it_is_forbidden() -> None:
    html = page(Verdict.of([LOST, Finding("crash", "n1 ended")]))
    assert "It would be legal after a kill; the history holds no such cause." in html
    assert "Forbidden: a node runs." in html


def test_what_is_allowed_says_so_with_its_reason() -> None:
    legal = Finding("lost-write", "7 is gone", (), (0,), reason="acks=1; here: kill of n2")
    html = page(Verdict(Outcome.VALID, allowed=(legal,)))
    assert "allowed under this contract" in html
    assert "Allowed: acks=1; here: kill of n2" in html
    assert "It would be" not in html


def test_more_findings_than_are_kept_are_counted() -> None:
    html = page(Verdict.of([LOST] * 20, counts={"lost-write": 1000}))
    assert "× 1,000" in html and "… and 992 more like these" in html


def test_indented_lines_are_quoted_by_the_sentence_before_them() -> None:
    crash = Finding("crash", "n1 ended", ("its log ends with", "    Trace", "      File", "so: no"))
    html = page(Verdict.of([crash]))
    assert "<li>its log ends with<pre>Trace\n  File</pre></li><li>so: no</li>" in html


def test_without_findings_the_page_says_none() -> None:
    assert page(Verdict.of()) == "<p>None.</p>"


def test_a_process_that_no_timeline_can_name_loses_only_its_timeline() -> None:
    ops = parse('nemesis: |-- kill ["n1"] --?')
    history = History.of(msgspec.structs.replace(op, process="c7") for op in ops)
    anomalies = findings.of_verdict(Verdict.of([Finding("x", "y", (), (0,))]).to_json())
    logs = Logs(Path("nowhere"), None)
    html = findings.render(anomalies, history, faults.read(history, ()), logs, {})
    assert "As a timeline in text" not in html and re.search("<td>c7", html)

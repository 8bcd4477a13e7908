"""A verdict as JUnit XML, the one format that every CI server reads: one test case per checker."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

from harness.verdict import Outcome, Verdict

_NOT_XML = {c: "�" for c in range(32) if c not in (9, 10, 13)} | {0xFFFE: "�", 0xFFFF: "�"}


def render(verdict: Verdict, test: str, time_s: float) -> str:
    """INVALID is a failure, UNKNOWN an error; the text is the findings' sentences."""
    parts: Mapping[str, Verdict] = verdict.checkers or {test: verdict}
    suite = ElementTree.Element(
        "testsuite",
        name=test,
        tests=str(len(parts)),
        failures=str(sum(p.outcome is Outcome.INVALID for p in parts.values())),
        errors=str(sum(p.outcome is Outcome.UNKNOWN for p in parts.values())),
        time=f"{time_s:.3f}",
    )
    for name, part in parts.items():
        case = ElementTree.SubElement(suite, "testcase", classname=test, name=name)
        if part.outcome is Outcome.INVALID:
            counts = ", ".join(f"{a} × {n}" for a, n in part.anomalies().items())
            failure = ElementTree.SubElement(case, "failure", message=_clean(counts))
            failure.text = _clean(
                "\n\n".join("\n".join((f.claim, *f.because)) for f in part.findings[:20])
            )
        elif part.outcome is Outcome.UNKNOWN:
            error = ElementTree.SubElement(case, "error", message=_clean(part.doubts[0][:200]))
            error.text = _clean("\n".join(part.doubts))
    text: str = ElementTree.tostring(suite, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold: messages of a broken system may have any."""
    return text.translate(_NOT_XML)

"""A verdict as JUnit XML, the one format that every CI server reads: one test case per checker.

What is doubted of the run as a whole (it was interrupted, its history is torn) is one more case, so
that a file without failures and errors means exit status 0. Messages of a broken system may hold
characters that XML cannot; those are spelled out.
"""

from __future__ import annotations

from xml.etree import ElementTree

from harness.report.visible import visible
from harness.verdict import Outcome, Verdict

RUN = "run"
FINDINGS_MAX = 20
MESSAGE_CHARS_MAX = 200


def render(verdict: Verdict, test: str, time_s: float) -> str:
    """INVALID is a failure, UNKNOWN an error; the text is the findings' sentences."""
    cases = _cases(verdict, test)
    suite = ElementTree.Element(
        "testsuite",
        name=visible(test),
        tests=str(len(cases)),
        failures=str(sum(part.outcome is Outcome.INVALID for part in cases.values())),
        errors=str(sum(part.outcome is Outcome.UNKNOWN for part in cases.values())),
        time=f"{time_s:.3f}",
    )
    for name, part in cases.items():
        _case(suite, visible(test), visible(name), part)
    text: str = ElementTree.tostring(suite, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _cases(verdict: Verdict, test: str) -> dict[str, Verdict]:
    if not verdict.checkers:
        return {test: verdict}
    of_parts = {f"{name}: {d}" for name, part in verdict.checkers.items() for d in part.doubts}
    of_run = [doubt for doubt in verdict.doubts if doubt not in of_parts]
    cases = dict(verdict.checkers)
    if of_run:
        cases[RUN] = Verdict.of(doubts=of_run)
    return cases


def _case(suite: ElementTree.Element, test: str, name: str, part: Verdict) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=test, name=name)
    if part.outcome is Outcome.INVALID:
        message = ", ".join(f"{anomaly} × {n}" for anomaly, n in part.anomalies().items())
        arguments = ("\n".join((f.claim, *f.because)) for f in part.findings[:FINDINGS_MAX])
        _say(case, "failure", message, "\n\n".join(arguments))
    elif part.outcome is Outcome.UNKNOWN:
        doubts = "\n".join(part.doubts)
        _say(case, "error", doubts.partition("\n")[0], doubts)


def _say(case: ElementTree.Element, kind: str, message: str, text: str) -> None:
    said = ElementTree.SubElement(case, kind, message=visible(message)[:MESSAGE_CHARS_MAX])
    said.text = visible(text)

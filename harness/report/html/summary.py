"""The head of the page: the verdict, what it rests on, and the command that repeats the run."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from harness.history import History
from harness.op import KINDS, Kind
from harness.report.html.faults import Faults
from harness.report.html.findings import ALLOWED, FORBIDDEN, Anomaly
from harness.report.html.markup import text

UNJUDGED: Final = "unjudged"
_WORD: Final[Mapping[Any, str]] = {True: "valid", False: "invalid", "unknown": "unknown"}


def word(verdict: Mapping[str, Any]) -> str:
    """`valid`, `invalid`, `unknown`, or UNJUDGED for a run without a stored verdict."""
    if not verdict:
        return UNJUDGED
    return _WORD.get(verdict.get("valid"), "unknown")


def title(test: Mapping[str, Any], folder: Path) -> str:
    return str(test.get("name") or test.get("workload") or folder.parent.name)


def render(
    test: Mapping[str, Any],
    verdict: Mapping[str, Any],
    anomalies: Sequence[Anomaly],
    history: History,
    faults: Faults,
    folder: Path,
    check: str | None = None,
) -> str:
    """The head as HTML, without its element. `check`: the command that judges it again."""
    return "\n".join(
        (
            f"<p class=eyebrow>{text(' · '.join(_where(test, folder)))}</p>",
            f"<h1><span class=mark>{word(verdict).capitalize()}</span></h1>",
            f"<p class=lead>{_lead(verdict, anomalies)}</p>",
            *_doubts([*verdict.get("doubts", ()), *_tears(verdict, history)]),
            *_warnings(verdict),
            f"<dl class=facts>{''.join(_facts(test, verdict, history, faults))}</dl>",
            _command(test, check or _check(folder), judged=bool(verdict)),
        )
    )


def _where(test: Mapping[str, Any], folder: Path) -> Iterator[str]:
    options = test.get("options", {})
    yield title(test, folder)
    if options.get("system"):
        yield f"{options['system']} on {options.get('nodes', '?')} nodes"
    if options.get("cluster"):
        yield f"{options['cluster']} cluster"
    if options.get("nemesis"):
        yield "no faults" if options["nemesis"] == "none" else f"nemesis {options['nemesis']}"
    yield folder.name


def _lead(verdict: Mapping[str, Any], anomalies: Sequence[Anomaly]) -> str:
    forbidden = _listed(anomalies, FORBIDDEN)
    allowed = _listed(anomalies, ALLOWED)
    said = {
        "valid": "Nothing that the contract forbids was seen.",
        "invalid": f"The contract forbids what was seen: {forbidden}."
        if forbidden
        else "Something that the contract forbids happened.",
        "unknown": "The history does not decide it.",
        UNJUDGED: "The run stored no verdict: it was killed, or is still going.",
    }[word(verdict)]
    return said + (f" Legal under it: {allowed}." if allowed else "")


def _listed(anomalies: Sequence[Anomaly], kind: str) -> str:
    return ", ".join(
        f'<a href="#{each.id}">{text(each.name)}</a>&nbsp;×&nbsp;{each.count:,}'
        for each in anomalies
        if each.kind == kind
    )


def _tears(verdict: Mapping[str, Any], history: History) -> list[str]:
    """What weakens the history; a verdict has said it already."""
    return [] if verdict else list(history.notes)


def _doubts(doubts: Sequence[Any]) -> Iterator[str]:
    for doubt in doubts:
        first, _, rest = str(doubt).partition("\n")
        if rest:
            yield (
                f"<details class=doubt><summary>{text(first)}</summary>"
                f"<pre>{text(rest)}</pre></details>"
            )
        else:
            yield f"<p class=doubt>{text(first)}</p>"


def _warnings(verdict: Mapping[str, Any]) -> Iterator[str]:
    """A vacuous run is valid for the wrong reason: that belongs beside the word."""
    coverage = verdict.get("stats", {}).get("coverage") or {}
    for warning in coverage.get("warnings", ()):
        yield f'<p class=warning>{text(warning)} (<a href="#coverage">what was exercised</a>)</p>'


def _facts(
    test: Mapping[str, Any], verdict: Mapping[str, Any], history: History, faults: Faults
) -> Iterator[str]:
    outcomes, pending = _outcomes(history)
    kinds = [f"{outcomes[kind]:,} {kind.value}" for kind in (Kind.OK, Kind.FAIL, Kind.INFO)]
    kinds += [f"{pending:,} pending"] if pending else []
    yield _fact("Operations", f"{sum(outcomes.values()) + pending:,}", " · ".join(kinds))
    phases = ", ".join(f"{p.name} {(p.end - p.begin) / 1e9:.1f} s" for p in faults.phases)
    yield _fact("Duration", f"{faults.end / 1e9:.1f} s", phases)
    count = Counter(band.name for band in faults.bands)
    about = ", ".join(f"{name} × {n}" for name, n in count.items())
    yield _fact("Faults", f"{sum(count.values()):,}", about)
    system = verdict.get("stats", {}).get("system")
    if isinstance(system, Mapping):
        for name, number in list(system.items())[:3]:
            yield _fact(_sentence(str(name)), str(number), "")
    if "seed" in test:
        yield _fact("Seed", str(test["seed"]), "")


def _sentence(name: str) -> str:
    """`isr_shrinks` as a reader says it: `Isr shrinks`."""
    return name[:1].upper() + name[1:].replace("_", " ")


def _fact(name: str, value: str, about: str) -> str:
    more = f"<small>{text(about)}</small>" if about else ""
    return f"<div><dt>{text(name)}</dt><dd>{text(value)}{more}</dd></div>"


def _outcomes(history: History) -> tuple[dict[Kind, int], int]:
    clients = history.process >= 0
    counted = np.bincount(history.type[clients], minlength=len(KINDS)).tolist()
    ended: dict[Kind, int] = {
        kind: counted[code] for code, kind in enumerate(KINDS) if kind is not Kind.INVOKE
    }
    return ended, len(history.pending())


def _check(folder: Path) -> str:
    return shlex.join(("assay", "check", str(_short(folder))))


def _command(test: Mapping[str, Any], check: str, *, judged: bool) -> str:
    rows = [("Repeat it", str(test["command"]))] if test.get("command") else []
    rows.append(("Judge it again" if judged else "Judge it", check))
    return "".join(
        f"<div class=command><span>{name}</span><code>{text(command)}</code>"
        "<button type=button class=script data-copy>Copy</button></div>"
        for name, command in rows
    )


def _short(folder: Path) -> Path:
    """Relative if the run lies below where the page is written: commands are typed there."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder

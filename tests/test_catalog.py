"""Names, and what third parties add to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import catalog
from harness.errors import UsageError
from tests import acme

KINDS = {
    "workloads": ("acme-set", "FromFile"),
    "nemeses": ("acme-kill", "nemesis"),
    "checkers": ("acme-even", "check_even"),
    "systems": ("acme-db", "System"),
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acme.install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("kind", catalog.OWN)
def test_everything_of_ours_is_found_and_says_what_it_is(kind: str) -> None:
    for shown in catalog.describe(kind):
        assert catalog.find(kind, shown["name"]) is not None
        assert len(shown["about"]) > 15 and "cannot be loaded" not in shown["about"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_installed_package_adds_names(installed: None, kind: str) -> None:
    name, _ = KINDS[kind]
    names = catalog.names(kind)
    assert name in names and names[: len(catalog.OWN[kind])] == list(catalog.OWN[kind])
    expected = {
        "workloads": acme,
        "nemeses": acme.nemesis,
        "checkers": acme.check_even,
        "systems": acme.System,
    }
    assert catalog.find(kind, name) is expected[kind]
    (shown,) = [each for each in catalog.describe(kind) if each["name"] == name]
    assert len(shown["about"]) > 15


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_what_is_named_in_it(kind: str) -> None:
    _, attribute = KINDS[kind]
    found = catalog.find(kind, f"{acme.__file__}:{attribute}")
    assert found.__name__ == attribute and found.__doc__


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_is_none_is_refused_with_those_that_are(kind: str) -> None:
    with pytest.raises(
        UsageError, match=rf"'nothing' is none of the {kind}: .*FILE:NAME|.*py:NAME"
    ):
        catalog.find(kind, "nothing")


def test_ours_cannot_be_replaced_by_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme.install(tmp_path)
    entries = tmp_path / "acme-1.0.dist-info" / "entry_points.txt"
    entries.write_text("[assay.workloads]\nlog = tests.acme\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert catalog.find("workloads", "log").__name__ == "workloads.log"
    assert catalog.names("workloads").count("log") == 1


def test_a_package_that_cannot_be_loaded_is_named_and_hides_no_other(installed: None) -> None:
    with pytest.raises(
        UsageError, match=r"'acme-broken' of acme cannot be loaded .*no_such_module"
    ):
        catalog.find("workloads", "acme-broken")
    shown = {each["name"]: each["about"] for each in catalog.describe("workloads")}
    assert "cannot be loaded" in shown["acme-broken"] and "acme-set" in shown


@pytest.mark.parametrize(
    ("source", "name", "complaint"),
    [
        (None, "it", "is no file; expected path/to/file.py:NAME"),
        ("1 / 0", "it", "cannot be loaded: ZeroDivisionError"),
        ("def (", "it", "cannot be loaded: SyntaxError"),
        ("that = 1", "it", "has no 'it' to be one of the workloads; it has that"),
    ],
)
def test_a_file_that_does_not_do_is_refused_with_the_reason(
    tmp_path: Path, source: str | None, name: str, complaint: str
) -> None:
    path = tmp_path / "mine.py"
    if source is not None:
        path.write_text(source)
    with pytest.raises(UsageError, match=complaint):
        catalog.find("workloads", f"{path}:{name}")


def test_a_file_stands_in_for_no_other_module(tmp_path: Path) -> None:
    path = tmp_path / "json.py"
    path.write_text('"""Mine."""\n\nclass it:\n    """Not JSON."""\n')
    assert catalog.find("workloads", f"{path}:it").__doc__ == "Not JSON."
    import json

    assert json.loads("1") == 1

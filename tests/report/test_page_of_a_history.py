"""`assay check FILE --report OUT.html`: the page of a history without a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.cli import main
from harness.verdict import Outcome
from tests.checkers.test_list_append import TOLD, write
from tests.golden import FOLDER, Golden, golden
from tests.report import runs
from tests.report.html.test_markup import Parsed
from tests.stories import history
from tests.test_golden_commands import options

EDN = FOLDER / "log-lost-write-jepsen.edn"


def told(tmp_path: Path) -> Path:
    return write(tmp_path / "h.jsonl", list(history(*TOLD["G-single"][0])))


@pytest.mark.parametrize("one", golden(), ids=lambda one: one.file.stem)
def test_every_golden_history_has_a_page(one: Golden, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    words = ["--workload", one.workload, *options(one), "--report", str(out)]
    status = main(["check", str(one.file), *words])
    assert status == Outcome[one.verdict.upper()].exit_status
    text = Parsed(out.read_text(encoding="utf-8")).text
    assert one.verdict.capitalize() in text
    assert all(name in text for name in one.anomalies)


def test_a_page_has_the_finding_its_cycle_its_witness_and_the_command_that_judges_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = told(tmp_path), tmp_path / "out.html"
    model = ["-o", "consistency-model=serializable"]
    assert main(["check", str(path), "--workload", "append", *model, "--report", str(out)]) == 1
    said = capsys.readouterr().out
    assert f"  look:    {out}#op-0" in said.splitlines()
    parsed = Parsed(out.read_text(encoding="utf-8"))
    assert "G-single" in parsed.text and "T1 < T2, because T1 read [] of key 2" in parsed.text
    assert [tag for tag, _ in parsed.tags].count("figure") >= 1
    assert "As a timeline in text" in parsed.text and "serializable forbids it" in parsed.text
    command = f"assay check {path} --workload append -o consistency-model=serializable"
    assert command in parsed.text


def test_a_history_of_somebody_else_has_a_page(tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    assert main(["check", str(EDN), "--workload", "log", "--report", str(out)]) == 1
    assert "lost-write" in Parsed(out.read_text(encoding="utf-8")).text


def test_of_a_run_folder_the_page_has_what_the_run_said_of_itself(tmp_path: Path) -> None:
    folder, out = runs.make(tmp_path, operations=300), tmp_path / "out.html"
    main(["check", str(folder.path), "--report", str(out)])
    text = Parsed(out.read_text(encoding="utf-8")).text
    assert runs.COMMAND in text and "segment 3 has no index" in text
    assert not folder.report.exists(), "the run's own report is another file"


def test_json_stays_alone_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = told(tmp_path), tmp_path / "out.html"
    assert main(["check", str(path), "--workload", "append", "--json", "--report", str(out)]) == 1
    shape = json.loads(capsys.readouterr().out)
    (example,) = shape["anomalies"]["G-single"]["examples"]
    assert [step["kind"] for step in example["cycle"]["steps"]] == ["rw", "wr"]
    assert out.exists()


def test_a_report_that_cannot_be_written_is_said_before_anything_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = told(tmp_path)
    path = path.rename(tmp_path / "history.jsonl")
    before = path.read_bytes()
    wrong = [
        (path, tmp_path, "is a folder; name a file in it"),
        (path, tmp_path / "no" / "r.html", "there is no folder"),
        (path, path, "is the history; a report would overwrite it"),
        (tmp_path, path, "is the history; a report would overwrite it"),
    ]
    for checked, out, why in wrong:
        assert main(["check", str(checked), "--workload", "append", "--report", str(out)]) == 2
        verdict, said = capsys.readouterr()
        assert why in said and not verdict
    assert path.read_bytes() == before


def test_a_folder_that_may_not_be_written_to_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = told(tmp_path), tmp_path / "out.html"
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert main(["check", str(path), "--workload", "append", "--report", str(out)]) == 2
    assert "may not be written to" in capsys.readouterr().err


def test_a_report_that_fails_at_last_leaves_the_verdict_told_and_the_old_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = told(tmp_path), tmp_path / "out.html"
    out.write_text("before")
    full = Path("/dev/full")
    monkeypatch.setattr(Path, "with_name", lambda *_: full)
    assert main(["check", str(path), "--workload", "append", "--report", str(out)]) == 4
    said, error = capsys.readouterr()
    assert said.startswith("INVALID") and "cannot write the report" in error
    assert out.read_text() == "before"


def test_what_is_no_file_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    path = told(tmp_path)
    null = Path("/dev/null")
    assert main(["check", str(path), "--workload", "append", "--report", str(null)]) == 1
    assert null.is_char_device()

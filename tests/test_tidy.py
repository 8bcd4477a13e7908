"""Style as a test: layers, docstrings, documents that name only what exists, and no leaks."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("harness", "workloads", "nemeses", "checkers", "systems", "nodes")
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md")

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# What a module may import of this project, by the longest prefix of its name that stands here.
DATA = [
    "harness.op",
    "harness.history",
    "harness.columns",
    "harness.batches",
    "harness.columnize",
    "harness.column_file",
    "harness.consistency",
    "harness.cycle",
    "harness.decode",
    "harness.digits",
    "harness.events",
    "harness.jsonl",
    "harness.keyed",
    "harness.lines",
    "harness.memory",
    "harness.mops",
    "harness.numbering",
    "harness.pairing",
    "harness.parts",
    "harness.skeletons",
    "harness.stretch",
    "harness.verdict",
    "harness.guarantees",
    "harness.licences",
    "harness.spells",
    "harness.windows",
    "harness.errors",
    "harness.seeds",
    "harness.edn",
    "harness.edn_words",
    "harness.foreign",
    "harness.fressian",
    "harness.fressian_caches",
    "harness.fressian_codes",
    "harness.fressian_tags",
    "harness.gaps",
    "harness.jepsen_blocks",
    "harness.jepsen_history",
    "harness.json_text",
    "harness.op_log",
    "harness.sources",
    "harness.timeline",
    "harness.coverage",
    "harness.deadline",
]
HOST = ["harness.host", "harness.errors"]
CONTRACTS = [
    *DATA,
    *["harness.workload", "harness.client", "harness.nemesis", "harness.checker", "harness.system"],
    *["harness.generator", "harness.cluster.contract", "harness.threads"],
    *["harness.host.contract", "harness.tape"],
]
ENGINE = [*CONTRACTS, "harness.faults", "harness.store", "harness.run", "harness.interpreter"]
ENGINE += ["harness.activations"]
MAY_IMPORT: dict[str, list[str]] = {
    **dict.fromkeys(DATA, DATA),
    "harness.host": HOST,
    "nodes": ["nodes", *HOST],
    "checkers": ["checkers", *DATA],
    "harness.workload": CONTRACTS,
    "harness.client": CONTRACTS,
    "harness.nemesis": CONTRACTS,
    "harness.checker": CONTRACTS,
    "harness.jury": [*CONTRACTS, "harness.limits"],
    "harness.limits": CONTRACTS,
    "harness.system": CONTRACTS,
    "harness.threads": CONTRACTS,
    "harness.tape": CONTRACTS,
    "harness.generator": CONTRACTS,
    "harness.cluster.contract": CONTRACTS,
    "workloads": ["workloads", "checkers", *CONTRACTS],
    "nemeses": ["nemeses", *CONTRACTS],
    "systems": ["systems", "workloads.ports", "nodes", *CONTRACTS],
    "harness.interpreter": [*CONTRACTS, "harness.workers"],
    "harness.workers": CONTRACTS,
    "harness.faults": CONTRACTS,
    "harness.store": CONTRACTS,
    "harness.activations": CONTRACTS,
    "harness.node_logs": CONTRACTS,
    "harness.run": ENGINE,
    "harness.sim": [*CONTRACTS, "harness.host", "harness.sim"],
    "harness.cluster": [*CONTRACTS, "harness.cluster", "harness.sim"],
    "harness.report": [*CONTRACTS, "harness.store", "harness.report"],
    "harness.progress": CONTRACTS,
    "harness.index": [*CONTRACTS, "harness.store"],
    # The top: these know every name.
    **{
        f"harness.{top}": ["harness", "nemeses", "workloads", "systems", "checkers", "nodes.bugs"]
        for top in (
            *("cli", "launch", "judging", "arguments", "provenance", "catalog", "doctor"),
            *("explore", "testing", "suite", "bench"),
        )
    },
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def below(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def rule(module: str) -> list[str] | None:
    matches = [prefix for prefix in MAY_IMPORT if below(module, prefix)]
    return MAY_IMPORT[max(matches, key=len)] if matches else None


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides its layer"
            base = node.module or ""
            for alias in node.names:
                full = ROOT.joinpath(*f"{base}.{alias.name}".split("."))
                is_module = full.is_dir() or full.with_suffix(".py").exists()
                yield node.lineno, f"{base}.{alias.name}" if is_module else base


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_downwards(path: Path) -> None:
    module = name_of(path)
    if module == "harness":
        return
    allowed = rule(module)
    assert allowed is not None, f"{module} has no place in the layers: give it one in this test"
    ours = [(line, name) for line, name in imports(path) if name.split(".")[0] in PACKAGES]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for line, name in ours
        if not any(below(name, prefix) for prefix in (*allowed, module))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if text:
        assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_named_in_a_document_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"`((?:[\w.-]+/)+[\w.*-]*|[\w-]+\.(?:py|md|toml))`", text)
    named += re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    missing = [
        name
        for name in named
        if not name.startswith(("results/", "nodes/n", "path/", ".venv/"))
        and not list(ROOT.glob(name.rstrip("/")))
        and not (ROOT / document).parent.joinpath(name).exists()
        and name not in GENERATED
    ]
    assert not missing, f"{document} names what does not exist: {missing}"


GENERATED = {"report.html", "junit.xml", "verdict.json", "test.json", "history.jsonl"}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        return SOURCES + TESTS
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_tracked_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    home = re.escape(str(Path.home()))
    pattern = re.compile(rf"{re.escape(str(ROOT))}/|{home}/[\w.]".encode())
    leaks = [str(p.relative_to(ROOT)) for p in tracked() if pattern.search(p.read_bytes())]
    assert not leaks


def test_no_tracked_file_is_huge() -> None:
    huge = [str(p.relative_to(ROOT)) for p in tracked() if p.stat().st_size > 1 << 20]
    assert not huge


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_tests_do_not_sleep(path: Path) -> None:
    """Real sleeping hides races and wastes minutes; wait for a condition with a deadline."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = ast.unparse(node.func)
            assert called != "time.sleep" or "deadline" in path.read_text(), (
                f"{path.relative_to(ROOT)}:{node.lineno} sleeps"
            )

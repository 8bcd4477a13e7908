"""The image's tag follows its contents, and contents are what nodes can import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.cluster import image
from harness.errors import EnvironmentFailure


def test_the_tag_changes_with_every_content_and_with_the_base() -> None:
    contents = {"docker/Dockerfile": b"FROM x", "nodes/a.py": b"a", "nodes/b.py": b""}
    tags = {
        image._hash("base", contents),
        image._hash("other", contents),
        image._hash("base", {**contents, "nodes/a.py": b"b"}),
        image._hash("base", {**contents, "nodes/a.py": b"", "nodes/b.py": b"a"}),
        image._hash("base", {**contents, "nodes/c.py": b""}),
    }
    assert len(tags) == 5
    assert image._hash("base", dict(contents)) in tags


def test_the_image_holds_what_the_nodes_import_of_this_project() -> None:
    contents = image._contents()
    modules = {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in contents
        if path.endswith(".py")
    }
    ours = {name for name in _imported(contents) if name.split(".")[0] in ("nodes", "harness")}
    assert ours and ours <= modules


def test_the_nodes_import_nothing_that_the_image_lacks() -> None:
    requirements = Path(image.ROOT, "docker/requirements.txt").read_text().split("\n")
    distributions = {line.split(">=")[0] for line in requirements if line}
    known = {"crc32c": "crc32c", "kafka": "kafka-python", "msgspec": "msgspec"}
    imported = {name.split(".")[0] for name in _imported(image._contents())}
    foreign = imported - set(sys.stdlib_module_names) - {"nodes", "harness"}
    assert {known.get(name, name) for name in foreign} <= distributions


def _imported(contents: Mapping[str, bytes]) -> set[str]:
    """The modules that the sources among these files import."""
    found: set[str] = set()
    for path, content in contents.items():
        for node in ast.walk(ast.parse(content)) if path.endswith(".py") else ():
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return found


def test_an_installed_package_says_that_it_needs_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "ROOT", tmp_path)
    with pytest.raises(EnvironmentFailure, match="checkout"):
        image.ensure()


def test_a_failing_build_quotes_the_builder() -> None:
    with pytest.raises(EnvironmentFailure, match=r"building it failed:\nno such thing"):
        image._run(["sh", "-c", "echo no such thing >&2; exit 3"], "building it")


@pytest.mark.docker
@pytest.mark.usefixtures("docker_engine")
def test_an_image_that_exists_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tag = image.ensure()

    def build(*arguments: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(image, "_build", build)
    assert image.ensure() == tag


@pytest.mark.docker
@pytest.mark.usefixtures("docker_engine")
def test_a_machine_can_import_every_module_of_the_nodes() -> None:
    modules = [
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in image._contents()
        if path.endswith(".py") and not path.endswith("__main__.py")
    ]
    program = f"import importlib; [importlib.import_module(m) for m in {modules!r}]"
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", image.ensure(), "python3", "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr

"""A suite's file says what is run, and is refused, with the place, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import catalog
from harness.errors import UsageError
from harness.suite.jobs import Job, Suite, load, only

ROOT = Path(__file__).parents[2]

EXPLORE = 'command = "explore"\nseeds = "0:3"\n'


def suite(tmp_path: Path, text: str) -> Suite:
    path = tmp_path / "nightly.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_a_job_is_a_command_line(tmp_path: Path) -> None:
    found = suite(
        tmp_path,
        """
        [defaults]
        time-limit = 60
        [[job]]
        name = "kills"
        workload = "log"
        nemesis = "kill,pause"
        nodes = 5
        options = { acks = "all", unclean = false, partitions = 2 }
        beyond-contract = true
        [[job]]
        name = "seeds"
        command = "explore"
        seeds = "0:20"
        nodes = 5
        time-limit = 5
        options = { acks = "1" }
        """,
    )
    assert found.name == "nightly"
    run, explore = found.jobs
    assert run.line == (
        "assay run log --nodes 5 --nemesis kill,pause --time-limit 60.0 --beyond-contract "
        "-o acks=all -o unclean=false -o partitions=2"
    )
    assert explore.line == (
        "assay explore --fixed nodes=5 --time-limit 5.0 --seeds 0:20 --fixed acks=1"
    )
    assert run.expect == "valid" and run.budget_s == 3600


def test_what_is_expected_ends_an_exploration(tmp_path: Path) -> None:
    text = f"""
        [[job]]
        name = "a"
        {EXPLORE}
        expect = "found"
        [[job]]
        name = "b"
        {EXPLORE}
        expect = ["lost-write", "unseen"]
        """
    anything, named = suite(tmp_path, text).jobs
    assert anything.words[-2:] == ["--until", "any"]
    assert named.words[-2:] == ["--until", "lost-write,unseen"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("job = 3", "is no suite: Expected `array`, got `int` - at `$.job`"),
        ("[[job]", "is no suite: "),
        ("", "missing required field `job`"),
        ("job = []", "has no job"),
        ('[[job]]\nname = "a"\nseedz = "0:3"', "job a: Object contains unknown field `seedz`"),
        ('[[job]]\nname = "a"\nseedz = "0:3"', "a job may say name, command, workload"),
        ('[[jobs]]\nname = "a"', "unknown field `jobs`"),
        ('[[job]]\nworkload = "log"', "job 1: Object missing required field `name`"),
        ('[[job]]\nname = "a"\nworkload = "log"\nnodes = "3"', "Expected `int | null`, got `str`"),
        ('[[job]]\nname = "a"\nworkload = "log"\nexpect = "lost"', "Invalid enum value 'lost'"),
        ('[[job]]\nname = "a"', "job a: the following arguments are required: WORKLOAD"),
        ('[[job]]\nname = "a"\nworkload = "logg"', "job a: 'logg' is none of the workloads"),
        ('[[job]]\nname = "a"\nworkload = "log"\nnemesis = "fire"', "'fire' is none of the nem"),
        ('[[job]]\nname = "a"\nworkload = "log"\nseeds = "0:3"', "unrecognized arguments: --seeds"),
        (f'[[job]]\nname = "a"\n{EXPLORE}client = "x"', "unrecognized arguments: --client"),
        (f'[[job]]\nname = "a"\n{EXPLORE}cluster = "local"', "only simulated runs are explored"),
        (f'[[job]]\nname = "a"\n{EXPLORE}options = {{ aks = 1 }}', "job a: "),
        ('[[job]]\nname = "a"\nworkload = "log"\nbudget-s = 0', "budget-s=0 is not greater"),
        (2 * '[[job]]\nname = "a"\nworkload = "log"\n', "two jobs have the name 'a'"),
    ],
)
def test_what_cannot_be_is_wrong_usage(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UsageError) as raised:
        suite(tmp_path, text)
    assert why in str(raised.value) and "nightly.toml" in str(raised.value)


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no suite: .*No such file"):
        load(tmp_path / "nightly.toml")


def test_only_what_is_named_runs() -> None:
    jobs = [Job(name=name) for name in ("bugs/a", "bugs/b", "honest")]
    assert only(jobs, []) == jobs
    assert [job.name for job in only(jobs, ["bugs/*"])] == ["bugs/a", "bugs/b"]
    assert [job.name for job in only(jobs, ["honest", "bugs/b"])] == ["bugs/b", "honest"]
    with pytest.raises(UsageError, match="--only bug: no job has such a name; there are bugs/a"):
        only(jobs, ["honest", "bug"])


def test_every_suite_of_ours_can_be_run() -> None:
    for path in (ROOT / "suites").glob("*.toml"):
        assert load(path).jobs


def test_the_suite_of_the_zoo_seeks_each_bug_as_what_it_is_and_nothing_where_there_is_none() -> (
    None
):
    *bugs, honest = load(ROOT / "suites" / "zoo.toml").jobs
    assert [job.bug for job in bugs] == catalog.names("bugs")
    for job in bugs:
        assert job.bug is not None and job.name == f"bugs/{job.bug}"
        assert job.expect == catalog.find("bugs", job.bug).anomalies and job.seeds == "0:200"
    assert honest.bug is None and honest.seeds == "0:2000" and honest.expect == "valid"

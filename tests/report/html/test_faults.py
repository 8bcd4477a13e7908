"""Bands, phases and colours of a history."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harness.history import History
from harness.op import NEMESIS, Kind, Op
from harness.report.html.faults import LINKS, Band, Faults, Phase, read
from harness.timeline import parse

KILL = {"name": "kill", "start": ["kill"], "stop": ["start"], "colour": "#c0392b"}
MS = 1_000_000


def faults(timeline: str, *declared: dict[str, object]) -> Faults:
    return read(History.of(parse(timeline)), declared)


def phase(name: str, time: int, **extra: object) -> list[Op]:
    return [Op(0, time, Kind.INFO, NEMESIS, "phase", name, extra=dict(extra))] * 2


def test_a_fault_is_a_band_on_its_node_until_it_is_mended() -> None:
    found = faults(
        """
        nemesis: |-- kill ["n2"] --?                 |-- start ["n2"] --?
        c0:                          |-- poll --|
        """,
        KILL,
    )
    (band,) = found.bands
    assert (band.name, band.target, band.colour) == ("kill", "n2", "#c0392b")
    assert 0 <= band.begin < band.end <= found.end


def test_a_cut_is_on_the_links_and_an_open_fault_lasts_until_the_end() -> None:
    found = faults(
        """
        nemesis: |-- start-partition {"n1":["n2"],"n2":["n1"]} --?
        c0:                                                        |-- poll --|
        """
    )
    (band,) = found.bands
    assert band.target == LINKS
    assert band.end == found.end


def test_a_colour_that_is_none_cannot_enter_the_page() -> None:
    nasty = {**KILL, "colour": "red;background:url(//evil)"}
    (band,) = faults('nemesis: |-- kill ["n1"] --?', nasty).bands
    assert band.colour.startswith("#") and len(band.colour) == 7


def test_bands_of_a_time_are_those_that_touch_it() -> None:
    found = faults(
        """
        nemesis: |-- kill ["n1"] --? |-- start ["n1"] --? |-- kill ["n2"] --?
        """
    )
    first, second = found.bands
    assert found.during(first.begin, first.begin) == [first]
    assert found.during(0, found.end) == [first, second]
    assert found.during(first.end + 1, second.begin - 1) == []


def test_faults_of_a_kind_that_overlap_are_one_shade() -> None:
    found = faults(
        """
        nemesis: |-- kill ["n1","n2"] --? |-- start ["n1"] --? |-- start ["n2"] --?
        """
    )
    (shade,) = found.shades()
    one, other = found.bands
    assert (shade.begin, shade.end) == (one.begin, other.end)
    assert one.about in shade.about and other.about in shade.about


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.integers(0, 9))))
def test_shades_cover_what_bands_cover_and_never_overlap(spans: list[tuple[str, int, int]]) -> None:
    bands = [Band(name, "n1", "", "#000000", begin, begin + size) for name, begin, size in spans]
    shades = Faults(bands, [], 40).shades()
    for name in "ab":
        of_kind = [shade for shade in shades if shade.name == name]
        assert all(a.end < b.begin for a, b in pairwise(of_kind))
        for time in range(41):
            covered = any(b.meets(time, time) for b in bands if b.name == name)
            assert covered == any(shade.meets(time, time) for shade in of_kind)


def test_phases_are_paired_by_name_and_say_whether_they_were_complete() -> None:
    history = History.of(
        [
            *phase("main", 0, at="begin"),
            *phase("main", 5 * MS, at="end", complete=True),
            *phase("final-reads", 6 * MS, at="begin"),
        ]
    )
    assert list(read(history, ()).phases) == [
        Phase("main", 0, 5 * MS, True),
        Phase("final-reads", 6 * MS, 6 * MS, None),
    ]


def test_an_empty_history_has_no_faults() -> None:
    assert read(History.of([]), [KILL]) == Faults([], [], 0)

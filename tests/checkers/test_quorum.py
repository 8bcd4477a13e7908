"""What nodes tell of their quorum: contradictions are found, and their legal neighbours are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations, product
from typing import Any

import msgspec
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers import quorum
from checkers.quorum import Account
from harness.guarantees import derive
from harness.history import History
from harness.op import Kind, Op
from harness.verdict import Outcome, Verdict
from tests.checkers.witnesses import STRICT, all_stand
from tests.nodes.raft.world import World


def account(node: str = "n1", **more: Any) -> dict[str, Any]:
    plain = {"since": 0, "term": 5, "commit": 0, "voted": [5, 1]}
    return {"node": node, **plain, **more}


def told(*events: Any) -> History:
    """Each event is an operation of the nemesis whose completion holds some accounts."""
    ops = []
    for number, accounts in enumerate(events):
        some = list(accounts) if isinstance(accounts, list) else [accounts]
        ops.append(Op(0, 2 * number, Kind.INFO, "nemesis", "kill", ["n1"]))
        extra = {"quorum": some}
        ops.append(Op(0, 2 * number + 1, Kind.INFO, "nemesis", "kill", ["n1"], extra=extra))
    return History.of(ops)


def judged(*events: Any) -> Verdict:
    return all_stand(told(*events), quorum.check)


def fine(*events: Any) -> None:
    verdict = judged(*events)
    assert verdict.outcome is Outcome.VALID, verdict.findings


# -- one leader a term -------------------------------------------------------------------------


def test_two_nodes_that_led_one_term() -> None:
    verdict = judged(account("n1", led=[[3, 1], [5, 7]]), account("n2", led=[[5, 7]]))
    assert verdict.counts == {"election-safety": 1}
    (finding,) = verdict.findings
    assert finding.key == 5 and finding.witness == (0, 1, 2, 3) and finding.span == (0, 3)
    assert finding.claim == "term 5 had two leaders: n1 and n2 both led it"


def test_a_node_that_led_a_term_again_after_a_restart() -> None:
    verdict = judged(account(led=[[5, 7]]), account(since=9, led=[[5, 9]]))
    assert verdict.findings[0].claim == "term 5 had two leaders: n1 led it twice"


def test_a_node_may_lead_many_terms_and_tell_of_them_often() -> None:
    fine(
        account(led=[[3, 1]]),
        account(led=[[3, 1], [5, 7]]),
        account("n2", led=[[4, 5]]),
        account(since=9, led=[]),
    )


# -- one log, one state ------------------------------------------------------------------------


def test_two_nodes_that_applied_different_entries() -> None:
    verdict = judged(
        account("n1", applied=[[16, 7], [20, 8]]),
        account("n2", applied=[[16, 7], [18, 1]]),
        account("n3", applied=[[16, 6], [20, 5]]),
    )
    assert verdict.counts == {"metadata-divergence": 1}
    (finding,) = verdict.findings
    assert finding.claim == "up to entry 16, n3 applied other entries than n1"
    assert finding.key == "entries" and finding.witness == (0, 1, 4, 5)


def test_two_nodes_that_made_different_states_of_the_same_entries() -> None:
    verdict = judged(
        account("n1", applied=[[20, 8]], image=[20, 3]),
        account("n2", applied=[[20, 8]], image=[20, 4]),
    )
    (finding,) = verdict.findings
    assert (finding.anomaly, finding.key) == ("metadata-divergence", "image")
    assert "made another state" in finding.claim


def test_a_node_that_was_told_otherwise_after_its_restart() -> None:
    verdict = judged(account(applied=[[20, 8]]), account(since=9, applied=[[20, 9]]))
    assert verdict.counts == {"metadata-divergence": 1}


def test_a_node_may_be_behind_and_begin_anew_after_a_restart() -> None:
    fine(
        account("n1", commit=20, applied=[[16, 7], [20, 8]], image=[20, 3]),
        account("n2", commit=9, applied=[[9, 4]], image=[8, 2]),
        account("n1", since=9, commit=0, applied=[[0, 0]], image=[0, 1]),
        account("n1", since=9, commit=16, applied=[[16, 7]], image=[16, 5]),
    )


# -- nothing is taken back ---------------------------------------------------------------------


def test_a_leader_that_lacks_what_was_committed_before_its_term() -> None:
    verdict = judged(
        account("n1", term=4, commit=9),
        account("n1", term=5, commit=11),
        account("n2", term=6, commit=20, led=[[6, 11]]),
    )
    assert verdict.counts == {"metadata-regression": 1}
    (finding,) = verdict.findings
    assert finding.key == 6 and finding.witness == (2, 3, 4, 5)
    assert finding.claim == ("n2 began to lead term 6 at entry 11, where 11 were committed before")


def test_leaders_begin_behind_what_was_committed_before_them() -> None:
    fine(
        account("n1", term=5, commit=11, led=[[5, 3]]),
        account("n2", term=6, commit=20, led=[[6, 12]]),  # of its own term, it may be more
        account("n3", term=6, commit=20),
        account("n3", term=7, commit=30, led=[[7, 21]]),
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [({"commit": 9}, {"commit": 8}), ({"applied": [[9, 1]]}, {"applied": [[8, 2]]})],
)
def test_a_process_that_goes_back(before: dict[str, Any], after: dict[str, Any]) -> None:
    verdict = judged(account(**before), account("n2"), account(**after))
    assert verdict.counts == {"metadata-regression": 1}
    assert verdict.findings[0].witness == (0, 1, 4, 5)
    fine(account(**before), account(since=9, **after))


# -- votes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [[4, 0], [4, 3], [5, 0], [5, 2]])
def test_a_disk_that_forgets_a_term_or_a_vote(later: list[int]) -> None:
    verdict = judged(account(voted=[5, 1]), account("n2"), account(since=9, voted=later))
    assert verdict.counts == {"vote-regression": 1}
    (finding,) = verdict.findings
    assert finding.key == "n1" and finding.witness == (0, 1, 4, 5)


def test_terms_rise_and_a_vote_is_given_once_in_each() -> None:
    fine(
        account(voted=[5, 0]),
        account(voted=[5, 2]),
        account(since=9, voted=[5, 2]),
        account(since=9, voted=[7, 0]),
        account("n2", voted=[3, 1]),
    )


# -- what is read ------------------------------------------------------------------------------


def test_a_mark_has_its_accounts_in_both_events_and_they_count_once() -> None:
    extra = {"at": "end", "quorum": [account(commit=3), account(commit=4)]}
    mark = [Op(0, 9, Kind.INFO, "nemesis", "phase", "heal", extra=extra)] * 2
    verdict = quorum.check(History.of(mark), STRICT)
    assert verdict.outcome is Outcome.VALID and verdict.stats == {"accounts": 2}


def test_accounts_of_one_event_contradict_each_other_too() -> None:
    verdict = judged([account("n1", led=[[5, 7]]), account("n2", led=[[5, 7]])])
    assert verdict.findings[0].witness == (0, 1)


def test_what_is_no_account_leaves_a_doubt() -> None:
    verdict = quorum.check(told(account(commit="many"), account()), STRICT)
    assert verdict.doubts == ("1 accounts of nodes are not understood",)
    assert verdict.stats == {"accounts": 1}


def test_a_history_without_accounts_says_nothing() -> None:
    verdict = quorum.check(History.of([Op(0, 1, Kind.INVOKE, 1, "poll")]), STRICT)
    assert verdict == Verdict.of()


def test_no_settings_excuse_any_of_it() -> None:
    history = told(account("n1", led=[[5, 7]]), account("n2", led=[[5, 7]]))
    weak = derive("log", {"acks": "0", "idempotence": False, "unclean": True}, "derived")
    assert weak.sort(quorum.check(history, weak), history).outcome is Outcome.INVALID


# -- definitions, and honest nodes -------------------------------------------------------------


def differs(pairs: Iterable[tuple[int, int]]) -> bool:
    return any(a[0] == b[0] and a[1] != b[1] for a, b in combinations(set(pairs), 2))


def oracle(accounts: list[Account]) -> Counter[str]:
    """Every pair is looked at."""
    earlier = list(combinations(accounts, 2))
    led = {(term, a.process) for a in accounts for term, _ in a.led}
    two = {a[0] for a, b in combinations(led, 2) if a[0] == b[0]}
    lacking = {
        term
        for a, b in product(accounts, accounts)
        for term, first in a.led
        if b.term < term and b.commit >= first
    }
    back = {(a.process, "c") for a, b in earlier if a.process == b.process and a.commit > b.commit}
    back |= {
        (a.process, "a") for a, b in earlier if a.process == b.process and a.reached > b.reached
    }
    forgot = {
        a.node
        for a, b in earlier
        if a.node == b.node
        and (
            b.voted[0] < a.voted[0]
            or (b.voted[0] == a.voted[0] and a.voted[1] not in (0, b.voted[1]))
        )
    }
    images = [a.image for a in accounts if a.image is not None]
    return +Counter(
        {
            "election-safety": len(two),
            "metadata-divergence": differs(pair for a in accounts for pair in a.applied)
            + differs(images),
            "metadata-regression": len(lacking) + len(back),
            "vote-regression": len(forgot),
        }
    )


small = st.integers(0, 4)


@st.composite
def anything(draw: st.DrawFn) -> dict[str, Any]:
    """An account that does not contradict itself."""
    term = draw(small)
    led = draw(st.dictionaries(st.integers(0, term), small, max_size=2))
    applied = draw(st.dictionaries(small, st.integers(0, 1), max_size=2))
    return {
        "node": draw(st.sampled_from(["n1", "n2"])),
        "since": draw(st.integers(0, 1)),
        "term": term,
        "commit": draw(small),
        "voted": [draw(small), draw(st.integers(0, 2))],
        "led": sorted(led.items()),
        "applied": sorted(applied.items()),
        "image": draw(st.none() | st.tuples(small, st.integers(0, 1))),
    }


@settings(max_examples=400, deadline=None)
@given(st.lists(anything(), max_size=6))
def test_it_agrees_with_its_definitions_and_every_finding_stands(
    accounts: list[dict[str, Any]],
) -> None:
    verdict = judged(*accounts)
    plain = [msgspec.convert(each, Account) for each in accounts]
    assert Counter(verdict.counts) == oracle(plain)


class Asked(World):
    """A world of honest cores, whose hosts are asked for accounts now and then."""

    def accounts(self, processes: dict[int, int]) -> list[dict[str, Any]]:
        found = []
        for host in self.hosts.values():
            if host.core is None or host.applied is None:
                continue
            vote = host.disk.hard_state
            found.append(
                account(
                    f"n{host.id}",
                    since=processes.setdefault(id(host.applied), len(processes)),
                    term=host.core.term,
                    commit=host.core.commit,
                    voted=[vote.term, vote.vote],
                    led=list(host.core.led),
                    applied=host.applied.marks,
                    image=[host.applied.index, crc32c(host.register.snapshot())],
                )
            )
        return found


@pytest.mark.parametrize("seed", range(20))
def test_honest_nodes_never_contradict_each_other(seed: int) -> None:
    world, events = Asked(seed, voters=3 + seed % 2 * 2), []
    processes: dict[int, int] = {}
    kept = []  # so that no two of them have the same id
    for _ in range(60):
        world.run(50)
        kept.append([host.applied for host in world.hosts.values()])
        events.append(world.accounts(processes))
    verdict = quorum.check(told(*events), STRICT)
    assert verdict.outcome is Outcome.VALID, verdict.findings
    assert verdict.stats["accounts"] > 60 and world.statistics["restart"] > 3

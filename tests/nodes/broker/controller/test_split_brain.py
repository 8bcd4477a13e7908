"""Two leaders of one partition never both acknowledge, and what was acknowledged is never lost.

The argument at the top of `nodes/broker/controller/machine.py`, as a property of a model; the
canaries take its words away one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.broker.controller import partitions
from nodes.broker.controller.commands import AlterPartition, Fence, Unfence
from nodes.broker.metadata import MetadataImage, PartitionState
from tests.nodes.broker.controller.model import BROKERS, Broker, Model


def play(seed: int, min_isr: int = 2, losses: bool = True, model: type[Model] = Model) -> Model:
    played = model(seed, min_isr, losses)
    for _ in range(700):
        played.step()
    played.finish()
    return played


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((1, 2, 3)), st.booleans())
def test_nothing_that_was_acknowledged_is_lost_or_acknowledged_otherwise(
    seed: int, min_isr: int, losses: bool
) -> None:
    play(seed, min_isr, losses)


def test_the_model_exercises_what_it_is_for() -> None:
    total = sum((play(seed).statistics for seed in range(30)), Counter[str]())
    for what in ("acked", "led", "lost", "refused", "AlterPartition", "Fence", "Register"):
        assert total[what] > 20, what


# -- canaries --------------------------------------------------------------------------------


class HastyModel(Model):
    """Leaders do not count whom the controller may just be letting in."""

    waits_for_joining = False


class RestlessModel(Model):
    """Leaders show what they have although there are too few in sync to acknowledge it."""

    stands_still = False

    def advance(self, broker: Broker) -> None:
        super().advance(broker)
        self.acked.update(dict(enumerate(broker.log[: broker.hw])))


class Story:
    """A model told step by step. 1 leads; 2 is in sync; 3 was, is back, and has caught up."""

    def __init__(self, model: type[Model]) -> None:
        self.model = model(seed=1, min_isr=2, losses=True)
        self.all_see()
        self.produce()
        for id in (2, 3):
            self.fetch(id)
        self.blink(3)
        self.fetch(3)

    def all_see(self) -> None:
        for id in BROKERS:
            self.sees(id)

    def sees(self, id: int) -> None:
        broker = self.model.brokers[id]
        while broker.seen + 1 < len(self.model.images):
            self.model.see(broker)

    def produce(self) -> None:
        leader = self.model.brokers[1]
        assert leader.leading is not None
        leader.log.append((leader.leading.epoch, len(leader.log)))
        leader.leading.waiting.add(len(leader.log) - 1)
        self.model.advance(leader)

    def fetch(self, id: int) -> None:
        for _ in range(4):
            self.model.fetch(self.model.brokers[id])

    def fence(self, id: int) -> None:
        self.model.ask(Fence(id, self.model.image.brokers[id].epoch))

    def blink(self, id: int) -> None:
        """Fenced and unfenced: out of the ISR, and everybody knows it."""
        self.fence(id)
        self.model.ask(Unfence(id, self.model.image.brokers[id].epoch))
        self.all_see()

    def ask_in(self) -> AlterPartition:
        """The leader's request to let 3 in; it is on its way."""
        self.model.widen(self.model.brokers[1])
        request = self.model.requests.pop()
        assert request.isr == (1, 2, 3)
        return request

    def only_3_is_left(self) -> None:
        self.fence(1)
        self.fence(2)
        self.sees(3)


def a_request_comes_again(model: type[Model]) -> Model:
    """It let 3 in, 3 fell out and missed something, and an echo of the request lets it in again."""
    story = Story(model)
    request = story.ask_in()
    story.model.ask(request)
    story.all_see()
    story.blink(3)
    story.produce()
    story.fetch(2)
    story.model.ask(request)
    story.only_3_is_left()
    return story.model


def a_member_starts_anew(model: type[Model]) -> Model:
    """3 loses what it had after the leader asked for it, and before it is let in."""
    story = Story(model)
    request = story.ask_in()
    story.model.brokers[3].log.clear()
    story.model.start(3)
    story.blink(3)
    story.model.ask(request)
    story.only_3_is_left()
    return story.model


def a_member_joins_unseen(model: type[Model]) -> Model:
    """3 is let in, and the leader goes on without having heard of it."""
    story = Story(model)
    story.model.ask(story.ask_in())
    story.produce()
    story.fetch(2)
    story.only_3_is_left()
    return story.model


def a_leader_alone(model: type[Model]) -> Model:
    """Too few are in sync, the leader goes on, and an eligible replica takes over."""
    story = Story(model)
    story.blink(2)
    story.produce()
    story.fence(1)
    story.all_see()
    assert story.model.brokers[2].leading is not None
    return story.model


STORIES = (a_request_comes_again, a_member_starts_anew, a_member_joins_unseen, a_leader_alone)


@pytest.mark.parametrize("story", STORIES)
def test_stories_end_well_as_things_are(story: Callable[[type[Model]], Model]) -> None:
    assert story(Model).acked


def unfenced(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    """The controller takes requests as if this field of them were right."""
    honest = partitions.alter_partition

    def lenient(image: MetadataImage, command: AlterPartition) -> Any:
        state = image.partition("t", command.partition)
        assert state is not None
        right = {
            "partition_epoch": state.partition_epoch,
            "epochs": {id: broker.epoch for id, broker in image.brokers.items()},
        }
        return honest(image, msgspec.structs.replace(command, **{field: right[field]}))

    monkeypatch.setattr(partitions, "alter_partition", lenient)


@pytest.mark.parametrize(
    ("story", "field"),
    [(a_request_comes_again, "partition_epoch"), (a_member_starts_anew, "epochs")],
)
def test_a_controller_that_does_not_fence_requests_is_caught(
    story: Callable[[type[Model]], Model], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfenced(monkeypatch, field)
    with pytest.raises(AssertionError, match="leader 3 lacks offset"):
        story(Model)


@pytest.mark.parametrize(
    ("story", "model"),
    [(a_member_joins_unseen, HastyModel), (a_leader_alone, RestlessModel)],
)
def test_a_leader_that_does_not_wait_is_caught(
    story: Callable[[type[Model]], Model], model: type[Model]
) -> None:
    with pytest.raises(AssertionError, match="lacks offset"):
        story(model)


def caught() -> str:
    """What the model says of the bug, under the first seed that shows it."""
    for seed in range(300):
        try:
            play(seed, 2 + seed % 2)
        except AssertionError as error:
            return str(error)
    raise RuntimeError("nobody noticed the bug")


def test_a_controller_that_keeps_who_started_anew_in_sync_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        partitions, "leave", lambda image, state, id, lost: partitions.step_down(image, state, id)
    )
    assert "lacks offset" in caught()


def test_a_controller_without_eligible_replicas_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = partitions._settled

    def forgetful(image: MetadataImage, before: PartitionState, state: PartitionState) -> Any:
        after = honest(image, before, state)
        return after if not after.elr else msgspec.structs.replace(after, elr=())

    monkeypatch.setattr(partitions, "_settled", forgetful)
    assert "lacks offset" in caught()

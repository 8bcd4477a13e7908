"""Watching a generator: validation, errors that explain themselves, traces."""

from __future__ import annotations

from random import Random

import pytest

from harness import generator as gen
from harness.generator import Call, Context
from harness.generator.guard import GeneratorError, InvalidCall
from harness.generator.rehearse import perfect, quick
from harness.op import Kind, Op
from tests.generator import calls, w


class Says(gen.Generator):
    """Whatever it was made with, well or ill."""

    def __init__(self, step: object) -> None:
        self.step = step

    def op(self, context: Context) -> gen.Step:
        return self.step  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("step", "complaint"),
    [
        ((w(),), "is neither None, PENDING nor"),
        (("w", gen.NOTHING), "is not a Call and a Generator"),
        ((w(), None), "is not a Call and a Generator"),
        ((Call("w", process=0), gen.NOTHING), "has no time"),
        ((Call("w", process=9, time=0), gen.NOTHING), "process 9 does not run"),
        ((Call("w", process=None, time=0), gen.NOTHING), "process None does not run"),
        ((Call("w", process=1, time=0), gen.NOTHING), "process 1 is busy"),
        (
            (Call("w", process=0, time=0, type="ok"), gen.NOTHING),  # type: ignore[arg-type]
            "type 'ok' is none of invoke, info, sleep, log",
        ),
    ],
)
def test_a_call_that_cannot_be_done_is_refused_with_the_reason(
    step: object, complaint: str
) -> None:
    context = Context.of(2, Random(0))
    context.free = 0b101
    with pytest.raises(InvalidCall, match=complaint):
        gen.validate(Says(step)).op(context)


def test_valid_generators_pass_unchanged() -> None:
    some = gen.clients(gen.stagger(1e-8, gen.mix([calls(1, 2, 3), gen.limit(4, gen.repeat(w()))])))
    assert perfect(gen.validate(some)) == perfect(some) == perfect(gen.friendly(some))


def test_an_error_of_a_generator_says_when_and_whose() -> None:
    def broken(context: Context) -> Call:
        raise KeyError("lost")

    with pytest.raises(GeneratorError, match=r"raised KeyError: 'lost'") as raised:
        quick(gen.friendly(gen.clients(broken)))
    assert "at 0.000000 s, free 111 of 111" in str(raised.value)
    assert isinstance(raised.value.__cause__, KeyError)


def test_an_error_in_an_update_says_what_it_was_told() -> None:
    def react(generator: gen.Generator, context: Context, event: Op) -> object:
        raise ValueError("no")

    with pytest.raises(GeneratorError, match=r"told of Op\(index=0.*f='w'"):
        quick(gen.friendly(gen.on_update(react, w())))


def test_a_trace_shows_all_that_is_asked_said_and_told() -> None:
    lines: list[object] = []
    said = perfect(gen.trace("mine", gen.clients(w(1)), lines.append), concurrency=1)
    assert len(said) == 2
    text = [str(line) for line in lines]
    assert "mine op 0.000000 s" in text[0] and "Call(f='w', value=1" in text[0]
    assert "invoke" in text[1] and "update" in text[1]
    assert text[-1].endswith("→ None")


def test_a_trace_of_a_generator_that_does_not_listen_changes_nothing() -> None:
    some = gen.clients(calls(1, 2, 3))
    assert perfect(gen.trace("x", some, lambda line: None)) == perfect(some)
    assert [op.type for op in perfect(some, concurrency=1)][:2] == [Kind.INVOKE, Kind.OK]

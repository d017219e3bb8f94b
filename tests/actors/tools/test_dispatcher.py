"""
The dispatcher: every kind of call, and exactly one result for each (I3).

Threads and a virtual clock: the clock may jump while a thread works, so functions in threads are
held by events, never by sleeps, and nothing here depends on how long they take.
"""

import contextvars
import enum
import functools
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greenroom.actors.llm import ToolCall
from greenroom.actors.tools import (
    Dispatch,
    Dispatcher,
    DispatchFrame,
    Tool,
    ToolError,
    ToolResult,
    ToolStarted,
    tool,
)
from greenroom.runtime import (
    ActorStopped,
    CleanupOverran,
    Event,
    HandlerEnded,
    Interrupted,
    Ref,
    ReplyStream,
    open_runtime,
)

SECRET = "sk-123"
CITY = contextvars.ContextVar("CITY", default="nowhere")


def calls(*names: str) -> tuple[ToolCall, ...]:
    """Return a call of each name, with ids c1, c2 and so on."""
    return tuple(ToolCall(f"c{n}", name) for n, name in enumerate(names, 1))


@asynccontextmanager
async def dispatcher(*tools: Callable[..., Any], **options: Any) -> AsyncGenerator[Ref]:
    """Run a dispatcher of *tools*."""
    async with open_runtime() as runtime:
        yield await runtime.spawn(functools.partial(Dispatcher, tools, **options), name="tools")


async def run(ref: Ref, request: Dispatch) -> list[DispatchFrame]:
    """Dispatch *request* and return all frames."""
    async with ref.stream(request) as stream:
        return [frame async for frame in stream]


def f(function: Callable[..., Any]) -> Tool[..., Any]:
    """Make a tool named ``f``."""
    return Tool.of(function, name="f")


async def run_one(made: Tool[..., Any], arguments: str = "{}") -> ToolResult:
    """Call *made* in a dispatcher of its own, and return the result."""
    async with dispatcher(made) as ref:
        frames = await run(ref, Dispatch((ToolCall("c1", made.name, arguments),)))
    result = frames[-1]
    assert isinstance(result, ToolResult)
    return result


def results(frames: list[DispatchFrame]) -> dict[str, str]:
    """Return the texts of all results by call id, of which none may be there twice."""
    found = [frame for frame in frames if isinstance(frame, ToolResult)]
    assert len({each.call_id for each in found}) == len(found)
    return {each.call_id: each.text for each in found}


@tool
async def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@tool
async def slow(seconds: float = 1) -> str:
    """Sleep."""
    await trio.sleep(seconds)
    return f"slept {seconds}"


# -- frames


def test_two_calls_of_one_id_are_refused() -> None:
    """Results could not be told apart, so the request cannot be made."""
    with pytest.raises(ValueError, match="calls need distinct ids, and 'c1' is there twice"):
        Dispatch((ToolCall("c1", "f"), ToolCall("c2", "f"), ToolCall("c1", "g")))


def test_calls_are_a_tuple() -> None:
    """A list, which somebody could change, is refused as in any frame."""
    with pytest.raises(TypeError, match="calls must be a tuple"):
        Dispatch(list(calls("f")))  # type: ignore[arg-type] # pyright: ignore


def test_result_is_valid_unicode() -> None:
    """A lone surrogate, as in a file name that is no UTF-8, cannot spoil the conversation (I8)."""
    assert ToolResult("c1", "f", "a\udce9 \u00e9").text == "a? \u00e9"


# -- what a call comes to


class Size(enum.Enum):
    """An enum that is no string."""

    SMALL = "small"


@attrs.frozen
class Place:
    """A value of the project's own kind."""

    name: str
    size: Size


def giving(value: object, *, is_async: bool) -> Callable[[], Any]:
    """Return a function that returns *value*."""

    async def awaited() -> object:
        return value

    return awaited if is_async else lambda: value


VALUES: list[tuple[object, str]] = [
    ("text", "text"),
    ("", ""),
    (None, "null"),
    (0, "0"),
    (False, "false"),
    ([], "[]"),
    ({}, "{}"),
    (float("nan"), '"NaN"'),
    ({"a": (1, 2), "b": {3}}, '{"a":[1,2],"b":[3]}'),
    (Place("x", Size.SMALL), '{"name":"x","size":"small"}'),
    (iter(range(3)), "[0,1,2]"),
]


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(("value", "text"), VALUES)
async def test_case_68_values_falsy_ones_too_are_results(
    value: object, text: str, *, is_async: bool
) -> None:
    """Text stays as it is and the rest is JSON; nothing falsy is taken for no result."""
    if isinstance(value, Iterator):
        value = iter(range(3))  # gives its items once, and the table is used twice

    result = await run_one(f(giving(value, is_async=is_async)))

    assert (result.text, result.is_error) == (text, False)


@pytest.mark.parametrize("is_async", [True, False])
async def test_case_72_value_that_is_not_json_is_an_error_result(*, is_async: bool) -> None:
    """An unserialisable value is told to the model by its type, and does not hang the call."""
    loop: list[object] = []
    loop.append(loop)

    for value in (object(), loop, b"\xff", {"a": threading.Lock()}):
        result = await run_one(f(giving(value, is_async=is_async)))

        assert result.is_error
        assert result.text == (
            f"tool 'f' returned a value that is not JSON ({type(value).__name__})"
        )
        assert result.detail


async def test_case_20_unknown_name_is_an_error_result() -> None:
    """The model reads which name is near, and which there are; nothing was started."""
    async with dispatcher(add, slow) as ref:
        frames = await run(ref, Dispatch(calls("ad", "zzz")))

    assert results(frames) == {
        "c1": "no function named 'ad'; did you mean 'add'? There are: add, slow",
        "c2": "no function named 'zzz'. There are: add, slow",
    }
    assert all(isinstance(frame, ToolResult) and frame.is_error for frame in frames)


async def test_dispatcher_without_tools_says_so() -> None:
    """With no tools at all, the text still makes sense."""
    async with dispatcher() as ref:
        frames = await run(ref, Dispatch(calls("f")))

    assert results(frames) == {"c1": "no function named 'f'. There are: none"}


async def test_case_67_call_that_cannot_be_run_gets_its_fault_as_result() -> None:
    """Malformed arguments are answered with the fault, so that the model can mend them."""
    call = ToolCall("c1", "add", "{", "the arguments are not valid JSON: oops")
    async with dispatcher(add) as ref:
        frames = await run(ref, Dispatch((call, ToolCall("c2", "add", '{"a": 1}'))))

    assert results(frames) == {"c1": "the arguments are not valid JSON: oops", "c2": "2"}


async def test_invalid_arguments_are_an_error_result() -> None:
    """The function is not called, and the model reads which argument was wrong."""
    result = await run_one(add, '{"a": "10"}')

    assert result == ToolResult(
        "c1", "add", "tool 'add': argument 'a' should be int, got '10' (str)", is_error=True
    )


@pytest.mark.parametrize("is_async", [True, False])
async def test_case_27_exception_text_stays_out_of_the_models_text(
    caplog: pytest.LogCaptureFixture, *, is_async: bool
) -> None:
    """The model reads the exception's type; text and traceback go to the application."""

    def fail() -> None:
        raise ValueError(SECRET)

    async def fail_async() -> None:
        raise ValueError(SECRET)

    result = await run_one(f(fail_async if is_async else fail))

    assert (result.text, result.is_error) == ("tool 'f' failed (ValueError)", True)
    assert result.detail == f"ValueError: {SECRET}"
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("greenroom.tools", logging.WARNING)
    assert record.exc_info is not None


@pytest.mark.parametrize("is_async", [True, False])
async def test_text_of_a_tool_error_reaches_the_model(
    caplog: pytest.LogCaptureFixture, *, is_async: bool
) -> None:
    """What a tool says on purpose is for the model; its cause is not, and nothing is logged."""

    def fail() -> None:
        raise ToolError("no such city") from KeyError(SECRET)

    async def fail_async() -> None:
        fail()

    result = await run_one(f(fail_async if is_async else fail))

    assert (result.text, result.is_error) == ("no such city", True)
    assert result.detail == f"KeyError: '{SECRET}'"
    assert not caplog.records


async def test_tool_error_without_text_still_says_something() -> None:
    """An empty text would tell the model nothing."""

    async def fail() -> None:
        raise ToolError

    assert (await run_one(f(fail))).text == "tool 'f' failed"


async def test_tool_error_from_a_tools_own_nursery_is_bare() -> None:
    """A group of one is opened, so that the model reads the error itself (R14)."""

    async def fail() -> None:
        raise ToolError("no such city")

    async def function() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fail)

    assert (await run_one(f(function))).text == "no such city"


class Unspeakable(ToolError):
    """An error that fails when it is asked for its text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


STRANGE = [
    (Unspeakable(), "RuntimeError"),
    (StopIteration(), "RuntimeError"),
    (RecursionError(), "RecursionError"),
    (ExceptionGroup("two", [ValueError(), KeyError()]), "ExceptionGroup"),
]


@pytest.mark.parametrize(("error", "name"), STRANGE, ids=lambda value: type(value).__name__)
async def test_no_bug_of_a_tool_crashes_the_dispatcher(error: Exception, name: str) -> None:
    """However a tool fails, its call has a result, and others are not disturbed (R17)."""

    async def fail() -> None:
        raise error

    async with dispatcher(Tool.of(fail), add) as ref:
        frames = await run(ref, Dispatch((*calls("fail"), ToolCall("c2", "add", '{"a": 1}'))))
        again = await run(ref, Dispatch((ToolCall("c1", "add", '{"a": 2}'),)))

    assert results(frames) == {"c1": f"tool 'fail' failed ({name})", "c2": "2"}
    assert results(again) == {"c1": "3"}


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_exit_from_a_tool_passes(error: type[BaseException], *, is_async: bool) -> None:
    """``KeyboardInterrupt`` and ``SystemExit`` end the runtime, bare."""

    def leave() -> None:
        raise error

    async def leave_async() -> None:
        raise error

    with pytest.raises(error):
        await run_one(f(leave_async if is_async else leave))


async def test_request_without_calls_has_no_frames() -> None:
    """Nothing to run is run."""
    async with dispatcher(add) as ref:
        assert await run(ref, Dispatch(())) == []


async def test_dispatcher_tells_what_it_has() -> None:
    """``specs`` are those of its tools, plain functions among them, in order."""

    def shout(text: str) -> str:
        """Shout."""
        return text.upper()

    made = Dispatcher([add, shout])

    assert [spec.name for spec in made.specs] == ["add", "shout"]
    assert made.specs[0] is add.spec


def test_two_tools_of_one_name_are_refused() -> None:
    """A call could mean either."""
    with pytest.raises(ValueError, match="tools need distinct names, and 'add' is there twice"):
        Dispatcher([add, Tool.of(slow.function, name="add")])


# -- order and limits


async def test_calls_run_in_parallel_and_results_come_as_they_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """All calls start at once; results come in the order of completion, with their seconds."""
    request = Dispatch(
        tuple(ToolCall(f"c{n}", "slow", f'{{"seconds": {4 - n}}}') for n in (1, 2, 3))
    )
    frames: list[DispatchFrame] = []
    came_at: list[float] = []
    async with dispatcher(slow) as ref, ref.stream(request) as stream:
        async for frame in stream:
            frames.append(frame)
            came_at.append(trio.current_time())

    assert set(frames[:3]) == {ToolStarted(f"c{n}", "slow") for n in (1, 2, 3)}
    assert frames[3:] == [
        ToolResult("c3", "slow", "slept 1.0", seconds=1.0),
        ToolResult("c2", "slow", "slept 2.0", seconds=2.0),
        ToolResult("c1", "slow", "slept 3.0", seconds=3.0),
    ]
    assert came_at == [0, 0, 0, 1, 2, 3]


async def test_case_29_calls_in_turn_go_on_after_failures(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One at a time in the model's order, past an exception and the end of patience."""

    @tool(patience=0.5)
    async def late() -> None:
        await trio.sleep(1)

    async def fail() -> None:
        raise ValueError

    async with dispatcher(late, fail, slow) as ref:
        frames = await run(ref, Dispatch(calls("late", "fail", "zzz", "slow"), parallel=False))

    assert [frame.call_id for frame in frames] == ["c1", "c1", "c2", "c2", "c3", "c4", "c4"]
    assert results(frames)["c4"] == "slept 1"
    assert trio.current_time() == 1.5


@pytest.mark.parametrize(("options", "most_of_all"), [({"limit": 5}, 5), ({}, 16)])
async def test_limits_bound_calls_over_all_requests_and_of_one_tool(
    options: dict[str, int], most_of_all: int, autojump_clock: trio.testing.MockClock
) -> None:
    """No more calls run at once than ``limit``, and no more of a tool than its ``concurrency``."""
    running = {"narrow": 0, "wide": 0}
    most = {"narrow": 0, "all": 0}

    async def work(name: str) -> None:
        running[name] += 1
        most["narrow"] = max(most["narrow"], running["narrow"])
        most["all"] = max(most["all"], sum(running.values()))
        await trio.sleep(1)
        running[name] -= 1

    @tool(concurrency=2)
    async def narrow() -> None:
        await work("narrow")

    async def wide() -> None:
        await work("wide")

    request = Dispatch(calls(*["narrow"] * 6, *["wide"] * 12))
    async with dispatcher(narrow, wide, **options) as ref, trio.open_nursery() as nursery:
        nursery.start_soon(run, ref, request)
        nursery.start_soon(run, ref, request)

    assert most == {"narrow": 2, "all": most_of_all}


@pytest.mark.parametrize(("options", "most"), [({"threads": 2}, 2), ({}, 8)])
async def test_threads_are_bounded_apart_from_calls(options: dict[str, int], most: int) -> None:
    """Plain functions run in at most ``threads`` threads, whatever ``limit`` allows."""
    lock = threading.Lock()
    enough, gate = threading.Event(), threading.Event()
    inside: list[str] = []

    def work() -> None:
        with lock:
            inside.append(threading.current_thread().name)
            if len(inside) == most:
                enough.set()
        gate.wait()

    async with dispatcher(work, **options) as ref, trio.open_nursery() as nursery:
        nursery.start_soon(run, ref, Dispatch(calls(*["work"] * (most + 3))))
        await trio.to_thread.run_sync(enough.wait)
        await wait_all_tasks_blocked()
        at_once = tuple(inside)
        gate.set()

    assert at_once == ("tool work",) * most
    assert len(inside) == most + 3


async def test_slow_asker_holds_up_neither_tools_nor_other_requests(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """With the buffer full and nobody reading, calls end, and their places are free."""
    ended: list[float] = []

    async def work() -> None:
        await trio.sleep(1)
        ended.append(trio.current_time())

    request = Dispatch(calls(*["work"] * 6))
    async with dispatcher(work, limit=3) as ref, ref.stream(request, buffer=1) as stream:
        await trio.sleep(10)
        other = await run(ref, Dispatch(calls("work")))
        frames = [frame async for frame in stream]

    assert ended == [1, 1, 1, 2, 2, 2, 11]
    assert len(other) == 2
    assert len(results(frames)) == 6
    assert len(frames) == 12


@pytest.mark.parametrize("is_async", [True, False])
async def test_tools_see_the_askers_context_variables(*, is_async: bool) -> None:
    """A tool, in a thread too, runs in the context of whoever dispatched (R15)."""

    def city() -> str:
        return CITY.get()

    async def city_async() -> str:
        return CITY.get()

    made = Tool.of(city_async if is_async else city, name="city")
    async with dispatcher(made) as ref:
        CITY.set("Oslo")
        frames = await run(ref, Dispatch(calls("city")))

    assert results(frames) == {"c1": "Oslo"}


async def test_handler_ends_with_the_last_call(autojump_clock: trio.testing.MockClock) -> None:
    """An asker that reads nothing holds no place in the dispatcher once its calls are over."""
    events: list[Event] = []
    async with open_runtime(observers=[events.append]) as runtime:
        ref = await runtime.spawn(Dispatcher, [slow])
        async with ref.stream(Dispatch(calls("slow", "slow", "slow")), buffer=1) as stream:
            await trio.sleep(10)
            frames = [frame async for frame in stream]

    assert [event.at for event in events if isinstance(event, HandlerEnded)] == [1.0]
    assert [type(frame) for frame in frames] == [ToolStarted] * 3 + [ToolResult] * 3


# -- patience, cancellation, the end


async def test_case_22_patience_cancels_the_function(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """At the end of its patience a function is cancelled once, and the model reads why."""
    cancelled = 0

    @tool(patience=5)
    async def wait() -> None:
        nonlocal cancelled
        try:
            await trio.sleep(6)
        except trio.Cancelled:
            cancelled += 1
            raise

    result = await run_one(wait)

    assert result == ToolResult(
        "c1",
        "wait",
        "tool 'wait' took longer than 5 s and was cancelled",
        is_error=True,
        seconds=5.0,
    )
    assert cancelled == 1


async def test_case_25_patience_does_not_count_waiting_for_a_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Patience begins with the function: calls that wait for their turn lose none of it."""

    @tool(patience=1.5, concurrency=1)
    async def wait() -> None:
        await trio.sleep(1)

    async with dispatcher(wait) as ref:
        frames = await run(ref, Dispatch(calls("wait", "wait", "wait")))

    assert results(frames) == {"c1": "null", "c2": "null", "c3": "null"}


async def test_late_result_of_a_thread_counts(autojump_clock: trio.testing.MockClock) -> None:
    """A thread cannot be cancelled; what it returns past its patience is the real result (I9)."""
    gate = threading.Event()

    @tool(patience=1)
    def wait() -> str:
        gate.wait()
        return "done"

    async with dispatcher(wait) as ref, trio.open_nursery() as nursery:

        async def dispatch() -> None:
            frames.extend(await run(ref, Dispatch(calls("wait"))))

        frames: list[DispatchFrame] = []
        nursery.start_soon(dispatch)
        await trio.sleep(2)
        gate.set()

    assert results(frames) == {"c1": "done"}


async def test_abandoned_thread_is_not_waited_for_and_reported(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """With ``abandon`` the call ends with its patience, and the log says what was left."""
    gate, over = threading.Event(), threading.Event()

    @tool(patience=1, abandon=True)
    def wait() -> None:
        gate.wait()
        over.set()

    try:
        result = await run_one(wait)
    finally:
        gate.set()
        await trio.to_thread.run_sync(over.wait)

    assert result.text == "tool 'wait' took longer than 1 s and was cancelled"
    assert caplog.messages == ["tool 'wait': call 'c1' left its thread behind"]


async def read_until(stream: ReplyStream[DispatchFrame], count: int) -> list[DispatchFrame]:
    """Take *count* frames."""
    return [await anext(stream) for _ in range(count)]


async def read_all(stream: ReplyStream[DispatchFrame], frames: list[DispatchFrame]) -> None:
    """Add all frames to *frames*, until the stream ends or raises."""
    async for frame in stream:
        frames.append(frame)  # noqa: PERF401 - what came is wanted also where it raises


async def test_case_23_leaving_the_block_cancels_and_settles_every_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What was taken and ``closing`` make one result a call, each saying what happened (I3, I4)."""
    running = 0

    @tool(concurrency=1)
    async def hold() -> None:
        nonlocal running
        running += 1
        try:
            await trio.sleep_forever()
        finally:
            running -= 1

    async with dispatcher(add, hold) as ref:
        request = Dispatch((ToolCall("c0", "add", '{"a": 1}'), *calls("hold", "hold")))
        async with ref.stream(request) as stream:
            taken = await read_until(stream, 3)
            await wait_all_tasks_blocked()
            assert running == 1

        assert running == 0
        why = "the block of its stream was left"
        assert results([*taken, *stream.closing]) == {
            "c0": "2",
            "c1": f"tool 'hold' was cancelled: {why}",
            "c2": f"tool 'hold' was cancelled before it began: {why}",
        } or results([*taken, *stream.closing]) == {
            "c0": "2",
            "c2": f"tool 'hold' was cancelled: {why}",
            "c1": f"tool 'hold' was cancelled before it began: {why}",
        }


async def test_a_bare_cancel_gives_results_without_a_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """I3: a cancel from around the runtime says no why, and the model reads none."""
    left: list[DispatchFrame] = []
    with trio.move_on_after(0.5):
        async with dispatcher(slow, limit=1) as ref:
            stream = ref.stream(Dispatch(calls("slow", "slow")))
            try:
                async with stream:
                    await trio.sleep_forever()
            finally:
                left += stream.untaken

    assert sorted(results(left).values()) == [
        "tool 'slow' was cancelled",
        "tool 'slow' was cancelled before it began",
    ]


async def test_results_that_were_not_taken_are_in_closing() -> None:
    """A block left after everything ended loses no result, and gives none twice (I9)."""
    request = Dispatch(tuple(ToolCall(f"c{n}", "add", f'{{"a": {n}}}') for n in range(9)))
    for count in range(18):
        async with dispatcher(add) as ref:
            async with ref.stream(request, buffer=4) as stream:
                await wait_all_tasks_blocked()
                taken = await read_until(stream, count)
            ended = [*taken, *stream.closing]

        assert results(ended) == {f"c{n}": str(n + 1) for n in range(9)}


async def test_interrupt_gives_the_reader_all_results_then_the_outcome(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Who still reads gets each call's result with the reason, and then `Interrupted` (R13)."""
    async with dispatcher(slow, add) as ref, trio.open_nursery() as nursery:
        frames: list[DispatchFrame] = []

        async def read() -> None:
            request = Dispatch((*calls("slow"), ToolCall("c2", "add", '{"a": 1}')))
            async with ref.stream(request) as stream:
                with pytest.raises(Interrupted):
                    await read_all(stream, frames)

        nursery.start_soon(read)
        await trio.sleep(0.5)
        ref.interrupt("a newer message")

    assert results(frames) == {"c1": "tool 'slow' was cancelled: a newer message", "c2": "2"}
    assert trio.current_time() == 0.5


async def test_interrupt_loses_no_frame_and_doubles_none() -> None:
    """Frames that the interrupt took back are handed over again, in order, and no later one twice."""
    refs: list[Ref] = []
    go_on = trio.Event()

    async def settle() -> None:
        await wait_all_tasks_blocked()  # what came before is in the buffer

    async def interrupt() -> None:
        refs[0].interrupt()  # while the next frames are on their way to the buffer
        go_on.set()
        await trio.sleep_forever()

    request = Dispatch(calls("settle", "settle", "interrupt"), parallel=False)
    frames: list[DispatchFrame] = []
    async with dispatcher(settle, interrupt) as ref, ref.stream(request) as stream:
        refs.append(ref)
        await go_on.wait()
        with pytest.raises(Interrupted):
            await read_all(stream, frames)

    assert [(frame.call_id, type(frame)) for frame in frames] == [
        (call.id, kind) for call in request.calls for kind in (ToolStarted, ToolResult)
    ]


async def test_stopping_dispatcher_settles_every_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Calls that outlive the drain are cancelled, with a result each."""
    async with dispatcher(slow) as ref:
        request = Dispatch((ToolCall("c1", "slow", '{"seconds": 99}'),))
        async with ref.stream(request) as stream:
            frames = await read_until(stream, 1)
            ref.stop()
            with pytest.raises(ActorStopped):
                await read_all(stream, frames)

    assert results(frames) == {"c1": "tool 'slow' was cancelled: 'tools' stopped"}
    assert trio.current_time() == 5.0


async def test_call_that_ends_itself_when_cancelled_keeps_its_own_result(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A value, or an error, that a cancelled function still makes is its result (I9)."""

    async def stubborn() -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return "saved"  # noqa: ASYNC103 - the misbehaviour under test
        return "never"

    async def breaking() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ToolError("broke off") from None

    request = Dispatch(calls("stubborn", "breaking"))
    async with dispatcher(stubborn, breaking) as ref, ref.stream(request) as stream:
        taken = await read_until(stream, 2)

    assert results([*taken, *stream.closing]) == {"c1": "saved", "c2": "broke off"}


async def test_function_in_a_thread_is_waited_for_and_its_result_counts() -> None:
    """A cancelled request ends when the thread does, with what the thread returned (I4, I9)."""
    gate, over = threading.Event(), threading.Event()

    def work() -> str:
        gate.wait()
        over.set()
        return "done"

    async with dispatcher(work) as ref:
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                async with ref.stream(Dispatch(calls("work"))) as stream:
                    await read_until(stream, 1)
                streams.append(stream)

            streams: list[ReplyStream[DispatchFrame]] = []
            nursery.start_soon(leave)
            await wait_all_tasks_blocked()
            assert not streams
            gate.set()

        assert over.is_set()
        assert results(list(streams[0].closing)) == {"c1": "done"}


async def test_r10_thread_that_overruns_is_named_and_the_caller_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """At the cleanup bound the block ends, the dispatcher is named, and nothing new starts."""
    gate = threading.Event()
    events: list[Event] = []

    def work() -> str:
        gate.wait()
        return "done"

    async with open_runtime(observers=[events.append]) as runtime:
        ref = await runtime.spawn(Dispatcher, [work, add], name="tools")
        async with ref.stream(Dispatch(calls("work"))) as stream:
            await read_until(stream, 1)
        left_at = trio.current_time()
        closing = stream.closing
        gate.set()
        again = await run(ref, Dispatch((ToolCall("c1", "add", '{"a": 1}'),)))

    assert left_at == 5.0
    assert closing == ()
    assert results(again) == {"c1": "2"}
    assert [e.actor for e in events if isinstance(e, CleanupOverran)] == ["tools"]

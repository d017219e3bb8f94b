# ruff: noqa: PT012 - what raises is often the end of the block that the story is told in
"""The runtime inside other people's programs (R22, R30, R14)."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
import fastapi
import hypercorn.config
import hypercorn.trio
import pytest
import trio
import trio.testing
import uvicorn
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from greenroom.runtime import Emit, Ref, Refused, Runtime, open_runtime
from greenroom.runtime.guest import GuestStream, open_guest
from tests.runtime.cast import Do, Echo, Note, Number, Play, Stagehand, crash, hang

Clock = trio.testing.MockClock

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def no_descriptor_left() -> Generator[None]:
    """Assert, from outside, that every socket that was opened in the block is closed."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()

    assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_runtime_in_a_hosts_nursery(autojump_clock: Clock) -> None:
    """I4: a cancel of the host's nursery ends the runtime and nothing is left."""
    log: list[str] = []

    async def host() -> None:
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand, log)
            await ref.ask(Do(hang))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(host)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert log == ["on_stop"]


async def test_refs_work_across_two_runtimes(autojump_clock: Clock) -> None:
    """R30: of one run, also for cancels and for actors of one that ask the other."""
    async with open_runtime(name="one") as one, open_runtime(name="two") as two:
        here = await one.spawn(Stagehand)
        there = await two.spawn(Stagehand)

        async def relay(_: Any) -> Any:
            return await there.ask(Echo("across", 5))

        assert await here.ask(Do(relay)) == "across"
        with trio.move_on_after(1):
            await here.ask(Do(relay))

        assert trio.current_time() == 6
        assert await there.ask(Echo("free")) == "free"


async def test_another_thread_is_told_what_to_use() -> None:
    """R30: a RuntimeError, for each way to use a ref; and the way that works."""
    async with open_runtime(name="house") as runtime:
        ref = await runtime.spawn(Stagehand)
        texts: list[str] = []

        def attempt(use: Any, *args: Any) -> None:
            try:
                use(*args)
            except RuntimeError as error:
                texts.append(str(error))

        def attempts() -> None:
            attempt(ref.tell_nowait, Note())
            attempt(ref.interrupt)
            attempt(ref.stop)
            attempt(trio.run, ref.ask, Echo())
            attempt(trio.run, ref.tell, Note())
            attempt(trio.run, ref.wait_stopped)
            attempt(trio.run, runtime.spawn, Stagehand)
            attempt(trio.run, runtime.wait_for, "nobody")
            attempt(trio.run, runtime.topic("news").publish, Note())

        await trio.to_thread.run_sync(attempts)
        expected = (
            "a ref of runtime 'house' was used in another thread; there, write "
            "trio.from_thread.run(ref.ask, frame, trio_token=token)"
        )
        assert texts == [expected] * 9
        token = trio.lowlevel.current_trio_token()
        reply: list[str] = []

        def ask() -> None:
            reply.append(trio.from_thread.run(ref.ask, Echo("from afar"), trio_token=token))

        with trio.CancelScope(shield=True):
            thread = threading.Thread(target=ask)
            thread.start()
            await trio.to_thread.run_sync(thread.join)

        assert reply == ["from afar"]


def test_a_ref_of_another_run_is_refused() -> None:
    """R30: an actor can't run in another ``trio.run``; the error says what to do."""
    refs: list[Ref] = []

    async def first() -> None:
        async with open_runtime(name="first") as runtime:
            refs.append(await runtime.spawn(Stagehand))

    async def second(method: str, *args: Any) -> None:
        await getattr(refs[0], method)(*args)

    trio.run(first)
    for method, args in [("ask", (Echo(),)), ("tell", (Note(),)), ("wait_stopped", ())]:
        with pytest.raises(RuntimeError, match=r"runtime 'first' was used in another trio.run\(\)"):
            trio.run(second, method, *args)


async def test_an_anyio_library_runs_inside_a_handler() -> None:
    """R15: task groups, threads and streams, in the asker's context and out of it."""

    async def library(_: Any) -> list[Any]:
        send, receive = anyio.create_memory_object_stream[int](1)
        got: list[Any] = []

        async def producer() -> None:
            async with send:
                for n in range(3):
                    await send.send(n)

        async with anyio.create_task_group() as group:
            group.start_soon(producer)
            async with receive:
                got.extend([n async for n in receive])
        got.append(await anyio.to_thread.run_sync(lambda: "thread"))
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        return got

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)

        assert await ref.ask(Do(library)) == [0, 1, 2, "thread"]


async def test_a_body_error_comes_out_bare() -> None:
    """R14: and its own group whole."""
    mine = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with open_runtime() as runtime:
            await runtime.spawn(Stagehand)
            raise mine
    with pytest.raises(ExceptionGroup, match="of mine") as group:  # Trio makes an equal one of it
        async with open_runtime() as runtime:
            await runtime.spawn(Stagehand)
            raise ExceptionGroup("of mine", [mine])

    assert caught.value is mine
    assert group.value.exceptions == (mine,)


async def test_an_uncaught_ask_of_a_crash_ends_with_the_crash_itself() -> None:
    """R14: the ActorCrashed of the body is an echo, and dropped."""
    with pytest.raises(ValueError, match="boom") as caught:
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand)
            await ref.ask(Do(crash))

    assert type(caught.value) is ValueError


async def test_a_body_error_beside_a_crash_is_one_group(autojump_clock: Clock) -> None:
    """R14: neither hides the other."""
    with pytest.RaisesGroup(pytest.RaisesExc(KeyError), pytest.RaisesExc(ValueError)) as caught:
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand)
            try:
                await ref.tell(Do(crash))
                await trio.sleep_forever()
            finally:
                raise KeyError("mine")

    assert len(caught.value.exceptions) == 2


async def test_a_keyboard_interrupt_in_a_handler_ends_the_runtime(autojump_clock: Clock) -> None:
    """R14: as itself; the asker elsewhere gets an outcome."""

    async def ctrl_c(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand)
            await ref.ask(Do(ctrl_c))
    with pytest.raises(KeyboardInterrupt):
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand)

            async def nested(_: Any) -> None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ctrl_c, _)
                    nursery.start_soon(trio.sleep_forever)

            await ref.ask(Do(nested))


async def test_several_leaves_are_a_crash() -> None:
    """R14: a handler's nursery with Refused and another error does not decline the request."""

    async def both(_: Any) -> None:
        async def no() -> None:
            raise Refused("no")

        async def boom() -> None:
            raise ValueError("boom")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(no)
            nursery.start_soon(boom)

    with pytest.RaisesGroup(pytest.RaisesExc(Refused), pytest.RaisesExc(ValueError)):
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand)
            await ref.ask(Do(both))


async def test_a_bodys_cancelled_goes_through(autojump_clock: Clock) -> None:
    """R14: a scope around the runtime catches its own cancel, and nothing else comes out."""
    with trio.move_on_after(1) as scope:
        async with open_runtime() as runtime:
            await runtime.spawn(Stagehand)
            await trio.sleep_forever()

    assert scope.cancelled_caught


@pytest.mark.parametrize("field", ["cleanup_grace", "drain_grace"])
@pytest.mark.parametrize("value", [-1, float("nan")])
async def test_graces_are_checked(field: str, value: float) -> None:
    """A wrong bound is named, with its unit."""
    with pytest.raises(ValueError, match=f"{field} must be seconds >= 0 or math.inf, not {value}"):
        async with open_runtime(**{field: value}):  # type: ignore[arg-type]  # pyright: ignore
            pass


async def test_nothing_ticks(autojump_clock: Clock) -> None:
    """R23: an idle runtime lets the virtual clock jump, and its tasks take no step."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        await ref.ask(Echo())
        await trio.testing.wait_all_tasks_blocked()
        steps = 0

        class Count(trio.abc.Instrument):
            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                nonlocal steps
                steps += task is not me

        me = trio.lowlevel.current_task()
        trio.lowlevel.add_instrument(count := Count())
        await trio.sleep(80_000)
        trio.lowlevel.remove_instrument(count)

        assert steps == 0
        assert trio.current_time() == 80_000


# -- a fixture of pytest-trio


@pytest.fixture
async def house() -> AsyncGenerator[Runtime]:
    """A runtime for one test."""
    async with open_runtime(name="house") as runtime:
        yield runtime


@pytest.fixture
async def stagehand(house: Runtime) -> Ref:
    """An actor in it."""
    return await house.spawn(Stagehand)


async def test_a_fixture_that_yields_a_runtime(
    house: Runtime, stagehand: Ref, autojump_clock: Clock
) -> None:
    """pytest-trio holds the block open around the test, on the test's clock."""
    assert await stagehand.ask(Echo("hi", 5)) == "hi"
    assert house.living() == ("stagehand-1",)


@pytest.mark.xfail(raises=ExceptionGroup, reason="pytest-trio puts the crash into a group")
async def test_a_crash_in_a_fixtures_runtime_fails_the_test(stagehand: Ref) -> None:
    """I7: the test is cancelled, and the crash reported."""
    stagehand.tell_nowait(Do(crash))
    await trio.sleep_forever()


# -- an ASGI server on Trio


async def get(address: tuple[str, int], path: str) -> bytes:
    """Make one request on a connection of its own, and return the body."""
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return b"".join([part async for part in stream]).partition(b"\r\n\r\n")[2]


async def test_starlette_under_hypercorn_opens_the_runtime_in_its_lifespan() -> None:
    """R22: requests ask actors, also while the server stops, whose end drains the runtime."""
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[dict[str, Ref]]:
        async with open_runtime() as runtime:
            yield {"ref": await runtime.spawn(Stagehand, log)}

    async def echo(request: Request) -> PlainTextResponse:
        text = request.path_params["text"]
        return PlainTextResponse(await request.state.ref.ask(Echo(text, 0.1)))

    async def note(request: Request) -> PlainTextResponse:
        request.state.ref.tell_nowait(Do(partial(last, log)))
        return PlainTextResponse("noted")

    async def last(log: list[str], _: Any) -> None:
        await trio.sleep(0.1)
        log.append("drained")

    app = Starlette(routes=[Route("/echo/{text}", echo), Route("/note", note)], lifespan=lifespan)
    config = hypercorn.config.Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    stop = trio.Event()
    with no_descriptor_left(), trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            serve = partial(hypercorn.trio.serve, app, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]
            (bind,) = await nursery.start(serve)
            address = ("127.0.0.1", int(bind.rpartition(":")[2]))
            bodies: list[bytes] = []

            async def request(path: str) -> None:
                bodies.append(await get(address, path))

            async with trio.open_nursery() as clients:
                clients.start_soon(request, "/echo/one")
                clients.start_soon(request, "/echo/two")
            async with trio.open_nursery() as clients:
                clients.start_soon(request, "/echo/late")
                while "echo late" not in log:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                stop.set()
            assert sorted(bodies) == [b"late", b"one", b"two"]

    assert log[-1] == "on_stop"


# -- FastAPI on uvicorn, with the runtime as a guest


@asynccontextmanager
async def served(app: fastapi.FastAPI) -> AsyncGenerator[tuple[str, int]]:
    """Serve *app* on a real socket by uvicorn, and stop it in order."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listener]))
            while not server.started:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.001)
            try:
                yield listener.getsockname()
            finally:
                server.should_exit = True


def app_with_guest(log: list[str]) -> fastapi.FastAPI:
    """Return an app whose lifespan opens a guest, and that asks and streams."""

    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncGenerator[None]:
        async with open_guest(open_runtime()) as guest:
            app.state.guest = guest
            app.state.ref = await guest.run(guest.opened.spawn, Stagehand, log)
            yield

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.get("/echo/{text}")
    async def echo(text: str) -> str:
        reply: str = await app.state.guest.run(app.state.ref.ask, Echo(text))
        return reply

    async def play(_: Any, emit: Emit[Number]) -> None:
        try:
            for n in range(1_000_000):
                await emit(Number(n))
                await trio.sleep(0.001)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
            log.append("handler over")

    async def numbers() -> AsyncIterator[GuestStream[Number]]:
        async with app.state.guest.stream(app.state.ref.stream(Play(play))) as frames:
            yield frames
        log.append("request over")

    @app.get("/count")
    async def count(
        frames: Annotated[GuestStream[Number], fastapi.Depends(numbers)],
    ) -> StreamingResponse:
        return StreamingResponse(f"{frame.n}\n" async for frame in frames)

    return app


def test_fastapi_on_uvicorn_asks_and_streams_and_a_client_leaves() -> None:
    """I4: the handler is over before the request is, and the actor serves the next one."""
    log: list[str] = []

    async def client(address: tuple[str, int], path: str, *, until: bytes | None = None) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
            return await (reader.read() if until is None else reader.readuntil(until))
        finally:
            writer.close()
            await writer.wait_closed()

    async def main() -> None:
        with no_descriptor_left():
            async with served(app_with_guest(log)) as address, asyncio.timeout(30):
                assert (await client(address, "/echo/hi")).endswith(b'"hi"')
                assert b"\n7\n" in await client(address, "/count", until=b"\n7\n\r\n")
                assert (await client(address, "/echo/next")).endswith(b'"next"')

    asyncio.run(main())
    assert log.index("handler over") < log.index("request over")
    log.remove("request over")
    assert log == ["echo hi", "handler over", "echo next", "on_stop"]


# -- the other way round: asyncio inside Trio, by trio_asyncio

# In a process of its own: importing it replaces asyncio's event loop policy for the whole process.
WITH_TRIO_ASYNCIO = """
import asyncio
from functools import partial
import trio, trio_asyncio
from greenroom.runtime import open_runtime
from tests.runtime.cast import Do, Echo, Stagehand

async def library(seconds):
    try:
        await asyncio.sleep(seconds)
        return "from asyncio"
    finally:
        print("library over")

async def call(seconds, _):
    print("in")
    return await trio_asyncio.aio_as_trio(library)(seconds)

async def main():
    async with trio_asyncio.open_loop(), open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        print(await ref.ask(Do(partial(call, 0))))
        with trio.move_on_after(0.1):
            await ref.ask(Do(partial(call, 100)))
        print("left")
        print(await ref.ask(Echo("free")))
        async with open_runtime(name="second") as second:
            other = await second.spawn(Stagehand)
            print(await other.ask(Do(partial(call, 0))))

trio.run(main)
"""


def test_a_runtime_under_trio_asyncio() -> None:
    """A handler calls an asyncio library; the asker's cancel crosses to it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITH_TRIO_ASYNCIO],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *("in", "library over", "from asyncio"),
        *("in", "library over", "left", "free"),
        *("in", "library over", "from asyncio"),
    ]

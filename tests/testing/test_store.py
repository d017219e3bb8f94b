"""The store that crashes: what survives, what is torn, and whose writes count; and a plain model."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime.testing import Crashable, MemoryStore, World, simulate

Act = tuple[str, ...]


async def act(store: MemoryStore, what: Act) -> None:
    """Do one thing to *store*, as ``("write", "a", "xyz")`` says."""
    match what:
        case ("crash",):
            store.crash()
            store.reopen()
        case ("tear",):
            store.crash(torn=True)
            store.reopen()
        case ("write", name, data):
            await store.write(name, data.encode())
        case (verb, *names):
            do: Callable[..., Awaitable[object]] = getattr(store, verb)
            await do(*names)
        case _:
            raise AssertionError(what)


@pytest.mark.parametrize(
    ("acts", "left"),
    [
        ("write a xy", {"a": b"xy"}),
        ("write a xy; crash", {"a": b""}),
        ("write a xy; sync a; crash", {"a": b"xy"}),
        ("write a xy; sync a; write a z; crash", {"a": b"xy"}),
        ("write a xy; sync a; write a 12345; tear", {"a": b"xy12"}),
        ("write a x; tear", {"a": b""}),
        ("write a 1234; tear; write a 5; crash", {"a": b"12"}),
        ("write a xy; rename a b; crash", {"b": b""}),
        ("write a xy; sync a; rename a b; crash", {"b": b"xy"}),
        ("write a xy; sync a; write b z; rename a b; crash", {"b": b"xy"}),
        ("write a xy; rename a a; sync a; crash", {"a": b"xy"}),
        ("write a xy; sync a; delete a; crash", {}),
        ("write a xy; delete a; write a z; sync a; crash", {"a": b"z"}),
    ],
)
async def test_what_a_crash_leaves(
    acts: str, left: dict[str, bytes], autojump_clock: object
) -> None:
    """What was synced, in full; renames and deletes; half of the rest where it is torn."""
    store = MemoryStore()
    for what in acts.split("; "):
        await act(store, tuple(what.split()))

    assert {name: await store.read(name) for name in store.names} == left


@pytest.mark.parametrize("verb", ["read a", "sync a", "delete a", "rename a b"])
async def test_a_file_that_is_not_there_is_named(verb: str, autojump_clock: object) -> None:
    """With those that are."""
    store = MemoryStore()
    await store.write("c", b"")
    with pytest.raises(FileNotFoundError, match="no file is named 'a'; there are: 'c'"):
        await act(store, tuple(verb.split()))


async def test_the_old_life_writes_nothing_any_more(autojump_clock: object) -> None:
    """Not from the crash to the reopening, and not what was under way, even if it ends after it."""
    store = MemoryStore(delay=1)
    await store.write("a", b"1")
    await store.sync("a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.write, "a", b"2")  # under way at the crash
        nursery.start_soon(store.delete, "a")
        await trio.testing.wait_all_tasks_blocked()
        store.crash()
        nursery.start_soon(store.write, "a", b"3")  # begun while it is down
        nursery.start_soon(store.sync, "nothing")  # nor does it hear that a file is gone
        await trio.testing.wait_all_tasks_blocked()
        store.reopen()
    await store.write("a", b"4")

    assert await store.read("a") == b"14"
    assert store.crashes == 1


async def test_an_operation_takes_its_time_and_one_that_is_cancelled_did_nothing(
    autojump_clock: object,
) -> None:
    """All effects are at the end."""
    store = MemoryStore(delay=2)
    began = trio.current_time()
    with trio.move_on_after(1):
        await store.write("a", b"1")
    await store.write("a", b"2")

    assert trio.current_time() - began == 3
    assert await store.read("a") == b"2"
    with pytest.raises(ValueError, match=r"delay must be seconds >= 0, not -1"):
        MemoryStore(delay=-1)


class Model:
    """Two dicts: what is in the files, and what is durable."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.durable: dict[str, bytes] = {}

    def act(self, what: Act) -> None:
        files, durable = self.files, self.durable
        match what:
            case ("write", name, text):
                files[name] = files.get(name, b"") + text.encode()
                durable.setdefault(name, b"")
            case ("sync", name):
                durable[name] = files[name]
            case ("rename", old, new):
                files[new], durable[new] = files.pop(old), durable.pop(old)
            case ("delete", name):
                del files[name], durable[name]
            case ("crash",):
                self.files = dict(durable)
            case ("tear",):
                for name, data in files.items():
                    kept = len(durable[name])
                    durable[name] = data[: kept + (len(data) - kept) // 2]
                self.files = dict(durable)
            case _:
                raise AssertionError(what)


NAMES = st.sampled_from("abc")
ACTS: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just("write"), NAMES, st.text("xyz", max_size=5)),
    st.tuples(st.sampled_from(["sync", "delete"]), NAMES),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.sampled_from([("crash",), ("tear",)]),
)


@given(st.lists(ACTS, max_size=30))
def test_it_is_as_the_model_has_it(acts: list[Act]) -> None:
    """After each of any series of operations and crashes, and where one fails the other does."""
    begin: list[Act] = [
        ("write", "a", "xyz"),
        ("sync", "a"),
        ("write", "b", "zyx"),
    ]  # no empty disk
    end: list[Act] = [("tear",), ("crash",)]  # so that what is durable is compared each time
    compared: list[dict[str, bytes]] = []

    async def main() -> None:
        store, model = MemoryStore(), Model()
        for what in [*begin, *acts, *end]:
            error = None
            try:
                model.act(what)
            except KeyError as missing:
                error = missing
            if error is None:
                await act(store, what)
            else:
                with pytest.raises(FileNotFoundError):
                    await act(store, what)
            left = {name: await store.read(name) for name in store.names}
            assert left == model.files
            compared.append(left)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(compared) == len(begin) + len(acts) + len(end)
    assert compared[2] == {"a": b"xyz", "b": b"zyx"}


def test_a_log_that_is_written_well_survives_a_crash_at_any_moment() -> None:
    """What it is for: an atomic replacement, crashed in any of its steps; the clumsy one fails."""

    async def replace(store: MemoryStore, *, syncs: bool) -> None:
        await store.write("new", b"new")
        if syncs:
            await store.sync("new")
        await store.rename("new", "log")

    async def scenario(w: World, *, syncs: bool, after: float, found: list[bytes]) -> None:
        store = MemoryStore(delay=1)
        await store.write("log", b"old")
        await store.sync("log")
        with trio.move_on_after(after):
            await replace(store, syncs=syncs)
            await trio.sleep_forever()
        store.crash()
        store.reopen()
        found.append(await store.read("log"))

    def left_by(*, syncs: bool) -> list[bytes]:
        """Return what the log is after a crash in each second."""
        found: list[bytes] = []
        for after in (0.5, 1.5, 2.5, 3.5):
            simulate(partial(scenario, syncs=syncs, after=after, found=found)).check()
        return found

    assert left_by(syncs=True) == [b"old", b"old", b"old", b"new"]
    assert left_by(syncs=False) == [b"old", b"old", b"", b""]


def test_it_is_crashable() -> None:
    """The kit knows it by two methods."""
    store: Crashable = MemoryStore()
    store.crash(torn=True)

    assert repr(store) == "<MemoryStore of 0 files, crashed>"
    store.reopen()
    assert repr(store) == "<MemoryStore of 0 files>"

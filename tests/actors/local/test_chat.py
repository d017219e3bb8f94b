"""``greenroom chat --local`` as its users meet it: real processes on pipes and on a terminal."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.actors.local.fakes import is_dead, pid_of, plant

GREENROOM = [sys.executable, "-c", "from greenroom.actors.cli import main; main()"]
PATIENCE = 30.0  # seconds for anything to show up, on a busy machine


def environment(place: Path) -> dict[str, str]:
    """Return what a command gets that finds the fakes in *place*."""
    return {**os.environ, "PYTHONPATH": str(place), "TERM": "xterm", "COLUMNS": "80"}


def chat(place: Path, *arguments: str, given: str) -> subprocess.CompletedProcess[str]:
    """Run a chat to its end, on pipes."""
    return subprocess.run(
        [*GREENROOM, "chat", *arguments],
        input=given,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(place),
    )


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, place: Path, *arguments: str) -> None:
        self.text = ""
        self.fd, theirs = pty.openpty()

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [*GREENROOM, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=take_terminal,  # noqa: PLW1509 - nothing of it needs a lock
            env=environment(place),
        )
        os.close(theirs)

    def wait_for(self, text: str) -> None:
        """Read until *text* was seen; what stood before it is then gone."""
        until = time.monotonic() + PATIENCE
        while text not in self.text:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"{text!r} did not come; there was {self.text!r}"
            self.text += os.read(self.fd, 65536).decode(errors="replace")
        self.text = self.text.partition(text)[2]

    def type(self, text: str) -> None:
        """Type *text*; ``\\x03`` is Ctrl-C."""
        os.write(self.fd, text.encode())

    def end(self) -> int:
        """Wait for the end, and return the exit code, or the signal as a negative number."""
        until = time.monotonic() + PATIENCE
        while (code := self.process.poll()) is None:
            assert time.monotonic() < until, f"it does not end; there was {self.text!r}"
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.text += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # nobody has the other end any more
                    time.sleep(0.01)
        return code

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder for `plant`."""
    yield tmp_path
    for file in tmp_path.rglob("*.pid"):
        if not is_dead(int(file.read_text())):
            os.kill(int(file.read_text()), signal.SIGKILL)


def until_dead(pid: int) -> None:
    """Wait until the process *pid* has ended."""
    until = time.monotonic() + PATIENCE
    while not is_dead(pid):
        assert time.monotonic() < until, f"process {pid} is still there"
        time.sleep(0.01)


def test_a_chat_has_a_model_of_its_own(place: Path) -> None:
    """The server is started, answers each line, and is gone when the command is."""
    weights = plant(place)

    done = chat(place, "--local", given="Say hello.\nOnce more.\n")

    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.startswith("Small-1M answers, on this machine")
    assert done.stdout.count("Good evening.") == 2
    assert is_dead(pid_of(weights))


def test_the_model_may_be_a_file(place: Path) -> None:
    """With --local the name of the model is the path of its weights."""
    weights = plant(place).rename(place / "other.gguf")

    done = chat(place, "--local", "--model", str(weights), given="Say hello.\n")

    assert done.stdout.startswith("other answers, on this machine")
    assert is_dead(pid_of(weights))


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("dies", "ended with code 3; it said last: the weights are of an unknown kind"),
        ("crashes", "llama.cpp's server ended with code 7"),
    ],
)
def test_a_server_that_ends_is_one_line(place: Path, behaviour: str, said: str) -> None:
    """Be it before it is ready or in mid-answer, the command ends and says why."""
    plant(place, behaviour)
    with subprocess.Popen(
        [*GREENROOM, "chat", "--local"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(place),
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write("Say hello.\n")
        process.stdin.flush()  # and left open, so that there is no other reason to end

        lines = process.stderr.read().splitlines()

    assert process.returncode == 1
    assert said in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_options_that_contradict_a_local_model_are_refused(place: Path) -> None:
    """One line says which go without the other."""
    plant(place)

    server = chat(place, "--local", "--base-url", "http://127.0.0.1:1/v1", given="")
    pace = chat(place, "--local", "--pace", "3", given="")

    assert server.returncode == pace.returncode == 2
    assert "--local goes without --understudy, --base-url and --api-key-env" in server.stderr
    assert "--pace is for the understudy" in pace.stderr


def test_ctrl_c_ends_a_turn_and_not_the_server(place: Path) -> None:
    """A line tells that the server starts; Ctrl-C in a turn leaves the server alone, at the
    prompt it ends both."""
    weights = plant(place, "endless")
    terminal = Terminal(place, "chat", "--local")
    try:
        terminal.wait_for("llama.cpp  starts")
        terminal.wait_for("Small-1M answers")
        terminal.wait_for("you> ")
        for _ in range(2):
            terminal.type("Say hello.\n")
            terminal.wait_for("evening.")
            terminal.type("\x03")
            terminal.wait_for("interrupted: kept")
            terminal.wait_for("you> ")
        assert not is_dead(pid_of(weights))
        terminal.type("\x03")

        assert terminal.end() == 0
        assert is_dead(pid_of(weights))
    finally:
        terminal.close()


@pytest.mark.parametrize("behaviour", ["stalls", "endless"])
def test_a_killed_command_takes_its_server_along(place: Path, behaviour: str) -> None:
    """SIGKILL while the server starts, or while it answers, leaves no server."""
    weights = plant(place, behaviour)
    terminal = Terminal(place, "chat", "--local")
    try:
        terminal.wait_for("llama.cpp  starts")
        if behaviour == "endless":
            terminal.wait_for("you> ")
            terminal.type("Say hello.\n")
            terminal.wait_for("evening.")
        else:
            until = time.monotonic() + PATIENCE
            while not weights.with_suffix(".pid").exists():
                assert time.monotonic() < until
                time.sleep(0.01)
        terminal.process.kill()

        assert terminal.end() == -signal.SIGKILL
        until_dead(pid_of(weights))
    finally:
        terminal.close()


def test_ctrl_c_while_it_starts_leaves(place: Path) -> None:
    """A line tells for how long it has been starting; no server is left."""
    weights = plant(place, "stalls")
    terminal = Terminal(place, "chat", "--local")
    try:
        terminal.wait_for("llama.cpp  starts  1.")
        terminal.type("\x03")

        assert terminal.end() == 130
        assert not weights.with_suffix(".pid").exists() or is_dead(pid_of(weights))
    finally:
        terminal.close()

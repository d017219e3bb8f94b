"""The command as its users meet it: real processes, real sockets, the real clock."""

import fcntl
import os
import pty
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenroom.actors.cli import app
from greenroom.actors.understudy.faults import CLAUSES

GREENROOM = [sys.executable, "-c", "from greenroom.actors.cli import main; main()"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"},
    "TERM": "xterm",
    "COLUMNS": "80",
    "LINES": "30",
}
PATIENCE = 30.0  # seconds for anything to show up, on a busy machine
QUESTION = "Which is heavier, Jupiter or Saturn, and by how much?"


def run(
    *arguments: str, given: str = "", program: list[str] = GREENROOM, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, on pipes."""
    return subprocess.run(
        [*program, *arguments],
        input=given,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=ENVIRONMENT | variables,
    )


class Running:
    """A command that runs on pipes or on a terminal of its own."""

    def __init__(
        self, *arguments: str, on_terminal: bool = False, program: list[str] = GREENROOM
    ) -> None:
        self.text = ""
        if on_terminal:
            self.fd, theirs = pty.openpty()
            self.modes = termios.tcgetattr(theirs)

            def take_terminal() -> None:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)

            self.process = subprocess.Popen(
                [*program, *arguments],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
                preexec_fn=take_terminal,  # noqa: PLW1509 - no threads here
                env=ENVIRONMENT,
            )
            self.theirs = theirs
        else:
            self.fd, theirs = os.pipe()
            self.process = subprocess.Popen(
                [*program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env=ENVIRONMENT,
            )
            os.close(theirs)

    def wait_for(self, text: str) -> None:
        """Read until *text* was seen; what stood before it is then gone."""
        until = time.monotonic() + PATIENCE
        while text not in self.text:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, until - time.monotonic()))
            more = os.read(self.fd, 65536).decode(errors="replace") if ready else ""
            assert more, f"{text!r} did not come; there was {self.text!r}"
            self.text += more
        self.text = self.text.partition(text)[2]

    def type(self, text: str) -> None:
        """Type *text* on the terminal; ``\\x03`` is Ctrl-C."""
        os.write(self.fd, text.encode())

    def end(self) -> tuple[int, str]:
        """Wait for the end, and return the exit code and what was still to be read."""
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None or select.select([self.fd], [], [], 0)[0]:
            assert time.monotonic() < until, f"it does not end; there was {self.text!r}"
            if select.select([self.fd], [], [], 0.05)[0]:
                more = os.read(self.fd, 65536)
                if not more:
                    self.process.wait(PATIENCE)
                    break
                self.text += more.decode(errors="replace")
        assert self.process.returncode is not None
        return self.process.returncode, self.text

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait()
        os.close(self.fd)
        if hasattr(self, "theirs"):
            os.close(self.theirs)


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start commands, and end what is left of them."""
    started: list[Running] = []

    def begin(
        *arguments: str, on_terminal: bool = False, program: list[str] = GREENROOM
    ) -> Running:
        started.append(Running(*arguments, on_terminal=on_terminal, program=program))
        return started[-1]

    yield begin
    for running in started:
        running.close()


def serve(start: Start, *arguments: str) -> list[str]:
    """Start an understudy, and return the options by which it is reached."""
    server = start("understudy", "--port", "0", *arguments)
    server.wait_for("--base-url ")
    server.wait_for("\n")
    return [
        *("--base-url", f"http://127.0.0.1:{port_of(server.process.pid)}/v1"),
        *("--model", "understudy-rules-1"),
    ]


def port_of(pid: int) -> int:
    """Return the port that a process listens on."""
    inodes = {
        os.readlink(file)
        for file in Path(f"/proc/{pid}/fd").iterdir()
        if file.is_symlink() and "socket" in os.readlink(file)
    }
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
            return int(fields[1].rpartition(":")[2], 16)
    raise AssertionError("it listens nowhere")


def one_line(stderr: str) -> str:
    """Return the only line of *stderr*."""
    (line,) = stderr.splitlines()
    return line


# -- the main job


def test_the_demo_answers_and_shows_its_work_without_control_codes() -> None:
    """On a pipe the default question is answered in plain text, colours forced or not."""
    done = run("demo", "--pace", "inf", FORCE_COLOR="1")

    assert done.returncode == 0
    assert done.stderr == ""
    assert "is a set of rules, not a language model" in done.stdout.splitlines()[0]
    assert "front_desk hands over to astronomer\n" in done.stdout
    assert "Jupiter is heavier than Saturn" in done.stdout
    assert "Timeline" in done.stdout
    assert re.search(
        r"^2 agents, 3 tool calls, \d+ frames, \d+ tokens, first ", done.stdout, re.MULTILINE
    )
    assert "\x1b" not in done.stdout


def test_chat_reads_lines_from_a_pipe() -> None:
    """Each line is a turn or a command, and every question reaches the front desk first."""
    lines = f"{QUESTION}\nHow high is K2?\n/undo\n/context\n/tools\n/nonsense\n"
    done = run("chat", "--pace", "inf", given=lines)

    assert done.returncode == 0
    assert "front_desk hands over to astronomer" in done.stdout
    assert "front_desk hands over to geographer" in done.stdout
    assert "K2's height is 8611 m" in done.stdout
    assert "took back 6 messages; 9 left" in done.stdout
    assert "    you  Which is heavier" in done.stdout
    assert "  search_docs: Search" in done.stdout
    assert one_line(done.stderr) == (
        "greenroom: no command '/nonsense'; write /help for those there are"
    )


def test_chat_reads_a_file_to_its_end(tmp_path: Path) -> None:
    """A file, which can't be waited for, is read like a pipe; its last line needs no end."""
    file = tmp_path / "lines"
    file.write_text("What is 2 * 21?")
    with file.open() as stdin:
        done = subprocess.run(
            [*GREENROOM, "chat", "--pace", "inf"],
            stdin=stdin,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=ENVIRONMENT,
        )

    assert done.returncode == 0
    assert "42" in done.stdout


def test_a_question_without_an_answer_gets_an_honest_one() -> None:
    """What nobody can answer is answered with what can be asked."""
    done = run("demo", "Who will win the election?", "--pace", "inf")

    assert done.returncode == 0
    assert "I can't answer that" in done.stdout


# -- bad input


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--bse-url", "x"], "Did you mean --base-url?; write: greenroom demo --help"),
        (["dmeo"], "write: greenroom --help"),
        (["demo", "How", "high", "is", "K2?"], 'write the question in quotes: "How high is K2?"'),
        (["chat", "hello"], "'hello' is too much; write: greenroom chat --help"),
        (["demo", " "], 'the question is empty; write: greenroom demo "your question"'),
        (["demo", "--base-url", "x", "--model", "m"], "--base-url must look like 'http://"),
        (["demo", "--base-url", "http://127.0.0.1:1/v1"], "write --model NAME"),
        (["chat", "--api-key-env", "NOT_SET"], "the variable NOT_SET is not set"),
        (["chat", "--team", "--instructions", "x"], "leave out --team"),
        (["demo", "--tool-delay", "-1"], "--tool-delay must be seconds >= 0, not -1"),
        (["understudy", "--fault", "bogus"], "unknown fault clause 'bogus'; write one of: delay"),
        (["understudy", "--pace", "0"], "--pace must be tokens per second > 0, not 0"),
        (["understudy", "--port", "70000"], "--port must be from 0 to 65535, not 70000"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command that is written wrongly says how to write it."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    code = app.run(arguments)

    assert code == 2
    assert said in one_line(capsys.readouterr().err)


def test_no_server_there_is_one_line() -> None:
    """An address where nobody listens is named, with what to do."""
    done = run("demo", "--base-url", "http://127.0.0.1:1/v1", "--model", "m")

    assert done.returncode == 1
    assert "no server answers at http://127.0.0.1:1/v1" in one_line(done.stderr)
    assert "start it, or write another --base-url" in done.stderr


def test_a_wrong_key_and_an_unknown_model_are_one_line_each(start: Start) -> None:
    """Status 401 asks for another key, status 404 for another model."""
    options = serve(start, "--api-key", "right")
    wrong_key = run("demo", *options, "--api-key-env", "KEY", KEY="wrong")
    unknown = run(
        "chat", *options[:2], "--model", "x", "--api-key-env", "KEY", KEY="right", given="hi"
    )

    assert wrong_key.returncode == unknown.returncode == 1
    assert "status 401" in one_line(wrong_key.stderr)
    assert "--api-key-env" in wrong_key.stderr
    assert "status 404" in one_line(unknown.stderr)
    assert "check the model 'x'" in unknown.stderr


def test_a_server_that_closes_in_mid_stream_is_one_line(start: Start) -> None:
    """A broken response fails the turn; only --debug says more."""
    options = serve(start, "--fault", "close@200")
    done = run("demo", *options)
    debugged = run("demo", "--debug", *options)

    assert done.returncode == debugged.returncode == 1
    assert "the connection to localhost broke" in one_line(done.stderr)
    assert "Traceback" not in done.stderr
    assert "Traceback" in debugged.stderr


BROKEN_TOOL = """
import attrs
from greenroom.actors.demo import cast, facts
from greenroom.actors.cli import main

def planet_fact(planet: facts.Planet, fact: facts.PlanetFact) -> str:
    "Look up one fact about one planet of the solar system."
    raise RuntimeError("the telescope fell over")

first, *rest = cast.SPECIALISTS
cast.SPECIALISTS = (attrs.evolve(first, tools=(planet_fact, *first.tools[1:])), *rest)
main()
"""


def test_a_broken_tool_is_named_in_one_line() -> None:
    """A tool that raises fails neither team nor terminal; its name and error are told."""
    done = run("demo", "--pace", "inf", program=[sys.executable, "-c", BROKEN_TOOL])

    assert done.returncode == 1
    assert "planet_fact" in one_line(done.stderr)
    assert "the telescope fell over" in done.stderr


def test_a_port_in_use_is_one_line() -> None:
    """A port that is taken is named, with what to write."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("understudy", "--port", str(port))

    assert done.returncode == 1
    assert f"can't listen on 127.0.0.1 port {port}" in one_line(done.stderr)
    assert "write another --port" in done.stderr


def test_an_address_that_is_not_ours_is_one_line() -> None:
    """It is the address that is to be written anew then, and not the port."""
    done = run("understudy", "--host", "203.0.113.1", "--port", "0")

    assert done.returncode == 1
    assert "can't listen on 203.0.113.1 port 0" in one_line(done.stderr)
    assert "write another --host" in done.stderr


def test_a_line_without_end_is_one_line() -> None:
    """Input that is no text ends the chat as bad input, not as a bug."""
    with Path("/dev/zero").open() as zeros:
        done = subprocess.run(
            [*GREENROOM, "chat"],
            stdin=zeros,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=ENVIRONMENT,
        )

    assert done.returncode == 1
    assert one_line(done.stderr).startswith("greenroom: a line of the input is longer than")


def test_a_question_that_a_tool_refuses_is_answered_and_no_failure() -> None:
    """A tool that says why it can't is not broken."""
    done = run("demo", "What is 1/0?", "--pace", "inf")

    assert done.returncode == 0
    assert done.stderr == ""
    assert "divides by zero" in done.stdout


@pytest.mark.parametrize("command", ["demo", "--help"])
def test_a_pipe_closed_early_ends_quietly(command: str) -> None:
    """Who reads no further ends the command as SIGPIPE would, without a word."""
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -n 1; exit "${PIPESTATUS[0]}"', "-", *GREENROOM, command],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=ENVIRONMENT,
    )

    assert done.returncode == 141
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_a_missing_library_of_the_command_line_is_named() -> None:
    """Without the extra, the command says how to get it."""
    hidden = "import sys; sys.modules['cyclopts'] = None\n" + GREENROOM[2]
    done = run(program=[sys.executable, "-c", hidden])

    assert done.returncode == 1
    assert "pip install 'greenroom[cli]'" in one_line(done.stderr)


def test_the_library_does_not_import_the_command_line() -> None:
    """Importing what agents are made of brings neither cyclopts nor rich, nor the SDK."""
    program = (
        "import sys, greenroom.runtime, greenroom.actors.agent, greenroom.actors.llm.actor\n"
        "print({'cyclopts', 'rich', 'openai'} & set(sys.modules))"
    )

    assert run(program=[sys.executable, "-c", program]).stdout == "set()\n"


# -- Ctrl-C


def test_ctrl_c_before_the_first_token_ends_the_demo(start: Start) -> None:
    """The model has said nothing yet: the message is kept, and the exit code is 130."""
    demo = start("demo", "--pace", "0.1")
    demo.wait_for("you: ")
    demo.process.send_signal(signal.SIGINT)
    code, said = demo.end()

    assert code == 130
    assert "Traceback" not in said


def test_ctrl_c_in_mid_stream_ends_the_demo_with_what_was_kept(start: Start) -> None:
    """What was shown of the answer is what is kept."""
    demo = start("demo", "--pace", "15")
    demo.wait_for("Jupiter is")
    demo.process.send_signal(signal.SIGINT)
    code, said = demo.end()

    assert code == 130
    assert re.search(r"\ninterrupted: kept \d+ words of the answer and 3 tool results\n$", said)


def test_sigterm_ends_the_demo_cleanly(start: Start) -> None:
    """SIGTERM cancels all there is, and the exit code tells."""
    demo = start("demo", "--pace", "0.1")
    demo.wait_for("you: ")
    demo.process.send_signal(signal.SIGTERM)
    code, said = demo.end()

    assert code == 143
    assert "Traceback" not in said


def test_ctrl_c_while_it_imports_ends_without_a_traceback(start: Start) -> None:
    """Before there is anything to interrupt, Ctrl-C just ends the command."""
    demo = start("demo", "--debug")
    maps = Path(f"/proc/{demo.process.pid}/maps")
    until = time.monotonic() + PATIENCE
    while "pydantic_core" not in maps.read_text():
        assert time.monotonic() < until
    demo.process.send_signal(signal.SIGINT)
    code, said = demo.end()

    assert code == 130
    assert "Traceback" not in said


def test_ctrl_c_interrupts_a_turn_on_a_terminal_and_then_leaves(start: Start) -> None:
    """In tools, and in mid-stream, the turn ends and the chat goes on; at the prompt it leaves."""
    chat = start("chat", "--tool-delay", "60", on_terminal=True)
    chat.wait_for("you> ")
    chat.type(f"{QUESTION}\n")
    chat.wait_for("waits for 2 tools")
    chat.type("\x03")
    chat.wait_for("planet_fact(Jupiter, mass) -> cancelled")
    chat.wait_for("interrupted: kept your message, cancelled 2 tool calls")
    chat.wait_for("you> ")
    chat.type("/context\n")
    chat.wait_for("error  tool 'planet_fact' was cancelled")
    chat.wait_for("you> ")
    chat.type("What is 2 * 21?\n")
    chat.wait_for("calculate(2 * 21)")
    chat.type("\x03")
    chat.wait_for("interrupted: kept your message, cancelled 1 tool call")
    chat.wait_for("you> ")
    chat.type("\x03")
    code, said = chat.end()

    assert code == 0
    assert said.strip("^C\r\n \x1b[0m") == ""
    assert termios.tcgetattr(chat.theirs) == chat.modes


STUCK_TOOL = BROKEN_TOOL.replace(
    'raise RuntimeError("the telescope fell over")', "import threading; threading.Event().wait()"
)


def test_a_function_that_never_returns_cannot_keep_the_terminal(start: Start) -> None:
    """The turn waits for it, then the command does; the third Ctrl-C waits for nothing."""
    chat = start("chat", on_terminal=True, program=[sys.executable, "-c", STUCK_TOOL])
    chat.wait_for("you> ")
    chat.type(f"{QUESTION}\n")
    chat.wait_for("waits for 2 tools")
    until = time.monotonic() + PATIENCE
    while chat.process.poll() is None:  # more than three times where signals came as one
        assert time.monotonic() < until
        chat.type("\x03")
        select.select([chat.fd], [], [], 0.1)
    code, said = chat.end()

    assert code == 130
    assert "Traceback" not in said
    assert termios.tcgetattr(chat.theirs) == chat.modes


def test_a_terminal_gets_status_and_is_restored(start: Start) -> None:
    """The cursor that the live region hides is back at the end, whatever ends it."""
    demo = start("demo", "--pace", "15", on_terminal=True)
    demo.wait_for("\x1b[?25l")
    demo.wait_for("waits for the model")
    demo.wait_for("writes: ")
    demo.type("\x03")
    code, said = demo.end()

    assert code == 130
    assert said.rfind("\x1b[?25h") > said.rfind("\x1b[?25l")
    assert "interrupted: kept" in said
    assert termios.tcgetattr(demo.theirs) == demo.modes


def test_the_understudy_serves_until_ctrl_c(start: Start) -> None:
    """It says what it is and where, answers, and ends well."""
    server = start("understudy", "--port", "0", "--pace", "1000")
    server.wait_for("is a set of rules, not a language model")
    server.wait_for("Ctrl-C ends it.\n")
    port = port_of(server.process.pid)
    done = run(
        *("chat", "--team", "--model", "understudy-rules-1"),
        *("--base-url", f"http://127.0.0.1:{port}/v1"),
        given="What is 2 * 21?\n",
    )
    server.process.send_signal(signal.SIGINT)
    code, said = server.end()

    assert done.returncode == 0
    assert "42" in done.stdout
    assert code == 0
    assert said.count("POST /v1/chat/completions 200\n") == 2
    assert "2 requests" in said.splitlines()[-1]


def test_the_understudy_ends_quietly_when_its_output_is_closed(start: Start) -> None:
    """The line of a request that nobody will read ends the server as SIGPIPE would."""
    server = start("understudy", "--port", "0")
    server.wait_for("Ctrl-C ends it.\n")
    options = ["--base-url", f"http://127.0.0.1:{port_of(server.process.pid)}/v1"]
    os.close(server.fd)
    server.fd = os.open(os.devnull, os.O_RDONLY)
    run("demo", *options, "--model", "understudy-rules-1")

    assert server.process.wait(PATIENCE) == 141


def test_help_tells_every_fault() -> None:
    """The help of the understudy has the whole language of its faults."""
    said = run("understudy", "--help").stdout

    assert [name for name in CLAUSES if name not in said] == []


# -- the page for newcomers

PAGE = Path(__file__).parents[3] / "docs" / "quickstart.md"
COMMANDS = re.findall(r"\.venv/bin/greenroom (.*)$", PAGE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_quick_start_are_understood(command: str) -> None:
    """Every command that the page shows has its options."""
    function, _bound, _ignored = app.app.parse_args(shlex.split(command), exit_on_error=False)

    assert function.__name__ == command.split()[0]


def test_the_quick_start_shows_what_was_recorded() -> None:
    """Each recording that the page includes is there, and each that is there is included."""
    shown = re.findall(r"literalinclude\} captures/(\S+)$", PAGE.read_text(), re.MULTILINE)

    assert len(COMMANDS) > 8
    assert sorted(shown) == sorted(file.name for file in (PAGE.parent / "captures").glob("*.txt"))

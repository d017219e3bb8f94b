"""The commands and their options; what a command does is imported when it runs."""

import functools
import importlib.metadata
import io
import logging
import math
import sys
from collections.abc import Sequence
from typing import Annotated, TypeAlias

import attrs
from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from greenroom.actors.cli.run import BROKEN_PIPE, Command, CommandError, complain, run_command

__all__ = ["run"]

WRONG_USE = 2  # exit code, as of most commands

app = App(
    name="greenroom",
    help="Agents that leave nothing behind: an actor-based agent runtime on Trio.",
    version=lambda: importlib.metadata.version("greenroom"),
    help_format="markdown",
    result_action="return_value",
)


@attrs.frozen
class _Job:
    """What a command line asks for."""

    command: Command
    debug: bool


Model: TypeAlias = Annotated[
    str | None, Parameter(help="Name of the model; by default the provider's own.")
]
BaseUrl: TypeAlias = Annotated[
    str | None,
    Parameter(help="An OpenAI-compatible server, such as http://127.0.0.1:8000/v1."),
]
KeyVariable: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--api-key-env",
        help="Variable that holds the key; by default the provider's own, as OPENAI_API_KEY.",
    ),
]
UseUnderstudy: TypeAlias = Annotated[
    bool,
    Parameter(
        name="--understudy",
        negative="",
        show_default=False,
        help="Use the understudy that comes along, whatever key is set.",
    ),
]
UseLocal: TypeAlias = Annotated[
    bool,
    Parameter(
        name="--local",
        negative="",
        show_default=False,
        help="Run a model on this machine, see make demo-local; --model may be a GGUF file then.",
    ),
]
Pace: TypeAlias = Annotated[
    float | None, Parameter(help="Tokens a second that the understudy speaks; inf for at once.")
]
ToolDelay: TypeAlias = Annotated[
    float, Parameter(help="Seconds that each tool takes on top, to have something to watch.")
]
Debug: TypeAlias = Annotated[
    bool,
    Parameter(negative="", show_default=False, help="Show tracebacks, and log to standard error."),
]


@app.command
def demo(
    question: Annotated[str | None, Parameter(help="What to ask; a default if left out.")] = None,
    *,
    model: Model = None,
    base_url: BaseUrl = None,
    key_variable: KeyVariable = None,
    understudy: UseUnderstudy = False,
    local: UseLocal = False,
    pace: Pace = None,
    tool_delay: ToolDelay = 0.0,
    debug: Debug = False,
) -> _Job:
    """Let a team of agents answer a question, and show who sent what to whom.

    Without a key or a server it is played by the understudy: a model server made of rules, which
    needs no network. With OPENAI_API_KEY or --base-url the same team runs on that model.
    """
    from greenroom.actors.cli.demo import demo as command
    from greenroom.actors.cli.model import ModelOptions

    options = ModelOptions(
        model=model,
        base_url=base_url,
        api_key_env=key_variable,
        understudy=understudy,
        local=local,
        pace=pace,
    )
    delay = _not_negative("--tool-delay", tool_delay)
    return _Job(
        functools.partial(command, question=question, options=options, tool_delay=delay), debug
    )


@app.command
def chat(
    *,
    model: Model = None,
    base_url: BaseUrl = None,
    key_variable: KeyVariable = None,
    understudy: UseUnderstudy = False,
    local: UseLocal = False,
    instructions: Annotated[
        str, Parameter(help="System prompt of an agent of your own.", show_default=False)
    ] = "",
    team: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Talk to the demo's team; the understudy always has it.",
        ),
    ] = False,
    pace: Pace = None,
    tool_delay: ToolDelay = 0.0,
    debug: Debug = False,
) -> _Job:
    """Converse with an agent, or with the demo's team.

    Each line is a turn; /help lists the commands. Ctrl-C interrupts the turn that runs, and at the
    prompt it leaves. Lines may come from a pipe.
    """
    from greenroom.actors.cli.chat import chat as command
    from greenroom.actors.cli.model import ModelOptions

    options = ModelOptions(
        model=model,
        base_url=base_url,
        api_key_env=key_variable,
        understudy=understudy,
        local=local,
        pace=pace,
    )
    return _Job(
        functools.partial(
            command,
            options=options,
            instructions=instructions,
            team=team,
            tool_delay=_not_negative("--tool-delay", tool_delay),
        ),
        debug,
    )


@app.command
def understudy(
    *,
    host: Annotated[
        str, Parameter(help="Address to listen on; the default is reached from here only.")
    ] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen on; 0 for any that is free.")] = 8000,
    pace: Annotated[float, Parameter(help="Tokens a second; inf for at once.")] = math.inf,
    fault: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            show_default=False,
            help="What is to go wrong, see above; may be given several times.",
        ),
    ] = (),
    api_key: Annotated[str | None, Parameter(help="Key that clients must send.")] = None,
    debug: Debug = False,
) -> _Job:
    """Serve the understudy, a model made of rules, to any OpenAI-compatible client.

    It misbehaves on demand. A fault is clauses with ; between them: delay=SECONDS, stall-head,
    status=CODE, retry-after=SECONDS, stall@EVENT, reset@BYTE, close@BYTE, malformed@EVENT,
    truncate-utf8@EVENT, error@EVENT, giant=SIZE, no-done, hang-close; and for which requests:
    nth=NUMBER, times=NUMBER. Examples: 'stall@5', 'reset@1200;nth=2',
    'status=429;retry-after=3;times=2'.
    """
    from greenroom.actors.cli.model import positive
    from greenroom.actors.cli.understudy import serve

    return _Job(
        functools.partial(
            serve,
            host=host,
            port=port,
            pace=positive("--pace", pace, "tokens per second"),
            faults=tuple(fault),
            api_key=api_key,
        ),
        debug,
    )


def _not_negative(option: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise CommandError(f"{option} must be seconds >= 0, not {value:g}", WRONG_USE)
    return value


def _advice(error: CycloptsError, arguments: Sequence[str]) -> str:
    command = " ".join(error.command_chain or ())
    if isinstance(error, UnusedCliTokensError):
        if command == "demo":
            words = [word for word in arguments[1:] if not word.startswith("-")]
            return f'write the question in quotes: "{" ".join(words)}"'
        said = f"{' '.join(error.unused_tokens or ())!r} is too much"
    else:
        said = str(error).rstrip(".")
    return f"{said}; write: {f'greenroom {command}'.rstrip()} --help"


def run(arguments: Sequence[str]) -> int:
    """Run the command that *arguments* ask for and return its exit code, see `main`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may not know every character
    try:
        job = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        complain(_advice(error, arguments))
        return WRONG_USE
    except SystemExit:  # the help can't be written: nobody reads it
        return BROKEN_PIPE
    except CommandError as error:
        complain(str(error))
        return error.code
    except KeyboardInterrupt:
        return 130
    if not isinstance(job, _Job):  # --help and --version are done
        return 0
    logging.getLogger("greenroom").addHandler(logging.NullHandler())
    if job.debug:
        logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
        logging.getLogger("greenroom").setLevel(logging.DEBUG)
    return run_command(job.command, debug=job.debug)

"""`tool`: a Python function as something that a model may call."""

import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast, overload

import attrs

from greenroom.actors.llm import ToolSpec
from greenroom.actors.tools.docstring import read_docstring
from greenroom.actors.tools.schema import Arguments

__all__ = ["Tool", "tool"]

P = ParamSpec("P")
R = TypeVar("R")
Q = ParamSpec("Q")  # of `Tool.of`, which belongs to no particular tool
S = TypeVar("S")

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@attrs.frozen(eq=False, repr=False, kw_only=True)
class Tool(Generic[P, R]):
    """
    A function that a model may call; made by `tool`, or by `Tool.of` from any callable.

    It can still be called like the function, arguments unchecked.
    """

    function: Callable[P, R]
    """What is called, with keyword arguments."""
    spec: ToolSpec
    """What the model is told."""
    patience: float = math.inf
    """Seconds that a call may run, > 0; ``math.inf`` for no bound."""
    concurrency: int | None = None
    """Calls of this tool that run at once in one dispatcher, >= 1; None for no bound of its own."""
    abandon: bool = False
    """Whether a cancelled call leaves its thread behind instead of waiting for it."""
    is_async: bool
    """Whether the function is a coroutine function; any other runs in a thread."""
    arguments: Arguments
    """What checks the arguments of a call."""

    @staticmethod
    def of(
        function: Callable[Q, S],
        *,
        name: str | None = None,
        description: str | None = None,
        patience: float = math.inf,
        concurrency: int | None = None,
        abandon: bool = False,
        strict: bool = False,
    ) -> "Tool[Q, S]":
        """
        Make a tool of *function*: a function, a method of an instance, a partial, a callable.

        What a partial gives by name is no parameter of the tool, and never shown to the model.

        Args:
            function: Every parameter needs an annotation, and can be given by name.
            name: For the model; the function's own by default. 1 to 64 letters, digits, _ and -.
            description: For the model; the docstring up to its first section by default.
            patience: Seconds that a call may run, > 0. An async function is then cancelled. A
                thread cannot be: unless *abandon*, it is waited for, and its result counts.
            concurrency: Calls of this tool that may run at once in one dispatcher, >= 1.
            abandon: For plain functions: a cancel or the end of *patience* leaves the thread
                running, on its own, instead of waiting for it.
            strict: Tell providers to hold the model to the schema while it samples, where they
                can. The schema is narrowed for it: each parameter must be sent, defaults or not.

        Raises:
            TypeError: *function* cannot be called with arguments from JSON by name.
            ValueError: an option is out of its range, or the name is no name for a model.
        """
        given: Any = function
        plain: Any = given.func if isinstance(given, functools.partial) else given
        # what runs: of an object that can be called, its method
        is_plain = inspect.isroutine(plain) or inspect.isclass(plain)
        called: Any = plain if is_plain else plain.__call__
        if name is None:
            name = str(getattr(plain, "__name__", ""))
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"a tool's name must be 1 to 64 letters, digits, _ or -, not {name!r}; "
                f"write name='...'"
            )
        if not patience > 0:
            raise ValueError(
                f"tool {name!r}: patience must be seconds > 0, or math.inf for no bound, "
                f"not {patience!r}"
            )
        if concurrency is not None and not concurrency >= 1:
            raise ValueError(f"tool {name!r}: concurrency must be an int >= 1, not {concurrency!r}")
        is_async = inspect.iscoroutinefunction(called)
        if abandon and is_async:
            raise ValueError(
                f"tool {name!r}: abandon=True is for functions that run in a thread; an async one "
                f"is cancelled"
            )
        text, descriptions = read_docstring(called.__doc__)
        arguments = Arguments(function, name, descriptions, strict=strict)
        spec = ToolSpec(
            name,
            description=text if description is None else description,
            parameters=arguments.schema,
            strict=strict,
        )
        return Tool(
            function=function,
            spec=spec,
            patience=patience,
            concurrency=concurrency,
            abandon=abandon,
            is_async=is_async,
            arguments=arguments,
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Tool {self.name!r}>"

    @property
    def name(self) -> str:
        """What the model calls it."""
        return self.spec.name

    def bind(self, arguments: str) -> dict[str, Any]:
        """
        Check the *arguments* of a call and return them as keyword arguments for the function.

        Types are strict, in JSON's terms: ``"10"`` is no int, but a date or an enum comes as text.
        What was not sent is left to the function's own defaults.

        Args:
            arguments: A JSON object, as the model sent it.

        Raises:
            InvalidArguments: they do not fit; the text tells the model all that is wrong.
        """
        return self.arguments.read(arguments)


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    patience: float = math.inf,
    concurrency: int | None = None,
    abandon: bool = False,
    strict: bool = False,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """
    Make a function a `Tool`: ``@tool``, or ``@tool(patience=5)`` with the options of `Tool.of`.

    The schema comes from the annotations and the descriptions from a docstring in Google's style::

        @tool
        async def search(query: str, limit: int = 10) -> list[str]:
            '''Search the notes.

            Args:
                query: Words to look for.
                limit: Most notes to return.
            '''
    """
    if function is None:
        return cast("Any", functools.partial(Tool.of, **options))
    return cast("Any", Tool.of(function, **options))

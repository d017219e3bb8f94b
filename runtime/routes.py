"""
Which method of an actor handles which frame (R16): decided once, when the class is made.

The form of a handler follows from the frame that its first parameter is annotated with:

=================  ==========================================================
`Frame`            ``async def handler(self, frame) -> None``
`Request[R]`       ``async def handler(self, request) -> R``
`StreamRequest[F]` ``async def handler(self, request, emit: Emit[F]) -> None``
`ControlFrame`     ``def handler(self, frame) -> None``
=================  ==========================================================
"""

import inspect
from collections.abc import Callable, Iterable
from enum import Enum
from types import UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from greenroom.runtime.frames import ControlFrame, Frame, Request, StreamRequest

__all__ = ["Form", "Route", "Routes", "handles"]

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])

HANDLES: Final = "__greenroom_handler__"


class Form(Enum):
    """How a handler is called."""

    RETURNING = "async def handler(self, frame)"
    STREAMING = "async def handler(self, request, emit)"
    CONTROL = "def handler(self, frame)"


def handles(method: HandlerT) -> HandlerT:
    """
    Make *method* a handler of the frames that its first parameter is annotated with.

    A union of frame classes is allowed. The most specific class wins; ``Frame`` catches every data
    frame that no other handler takes; a subclass's handler replaces its base's.

    Raises:
        TypeError: at class creation, if the form does not fit the frame (see the table above), or
            two handlers of one class take the same frame.
    """
    setattr(method, HANDLES, True)
    return method


@attrs.frozen
class Route:
    """The method *name* handles *frame*, called in *form*."""

    frame: type[Frame]
    name: str
    form: Form


class Routes:
    """The handlers of one actor class."""

    __slots__ = ("_actor", "_found", "_table", "has_control", "has_express", "methods", "quick")

    def __init__(self, table: dict[type[Frame], Route], actor: type = object) -> None:
        self._actor = actor
        self._table = table
        self._found: dict[type[Frame], Route | None] = {}  # one entry for each class ever looked up
        # those of them that are told or asked, and whether they may be asked
        self.quick: dict[type, bool] = {}
        # the handlers of all that were found, to be called with the actor first
        self.methods: dict[type, Callable[..., Any]] = {}
        self.has_control = any(route.form is Form.CONTROL for route in table.values())
        self.has_express = any(frame.express for frame in table)

    def find(self, frame: type[Frame]) -> Route | None:
        """Return the route of the most specific handler for frames of this class, or None."""
        try:
            return self._found[frame]
        except KeyError:
            form = _form_for(frame)
            routes = (self._table.get(base) for base in frame.__mro__)
            found = next((route for route in routes if route and route.form is form), None)
            self._found[frame] = found
            if found is not None:
                self.methods[frame] = getattr(self._actor, found.name)
                if found.form is Form.RETURNING and not (frame.express and self.has_express):
                    self.quick[frame] = issubclass(frame, Request)
            return found

    def frames(self) -> Iterable[type[Frame]]:
        """Return the frame classes that handlers are annotated with."""
        return self._table.keys()

    def names(self) -> str:
        """Return the frames that are handled, for messages."""
        return ", ".join(sorted(frame.__name__ for frame in self._table)) or "nothing"

    @classmethod
    def of(cls, actor: type, mark: str = HANDLES) -> "Routes":
        """
        Read the handlers of *actor* and of its bases.

        Args:
            actor: The class.
            mark: The attribute that tells handlers of this kind from other methods.

        Raises:
            TypeError: as `handles` says.
        """
        table: dict[type[Frame], Route] = {}
        for base in reversed(actor.__mro__):
            own: dict[type[Frame], Route] = {}
            for name, method in vars(base).items():
                if getattr(method, mark, False):
                    for route in _read(actor, name, method):
                        if (other := own.get(route.frame)) is not None:
                            raise TypeError(
                                f"{base.__name__}.{other.name} and {base.__name__}.{name} both "
                                f"handle {route.frame.__name__}; keep one"
                            )
                        own[route.frame] = route
            table.update(own)
        return cls(table, actor)


def _form_for(frame: type[Frame]) -> Form:
    if issubclass(frame, ControlFrame):
        return Form.CONTROL
    return Form.STREAMING if issubclass(frame, StreamRequest) else Form.RETURNING


def _read(actor: type, name: str, method: Callable[..., Any]) -> list[Route]:
    where = f"{actor.__name__}.{name}"
    parameters = list(inspect.signature(method).parameters.values())[1:]
    if not parameters:
        raise TypeError(f"{where} takes no frame; write {Form.RETURNING.value}")
    try:
        hints = get_type_hints(method)
    except NameError as error:
        raise TypeError(
            f"{where}: can't resolve the annotation ({error}); frame classes made inside a function "
            f"can't be resolved under 'from __future__ import annotations': define them at module "
            f"level"
        ) from error
    annotation = hints.get(parameters[0].name)
    if annotation is None:
        raise TypeError(f"{where}: annotate {parameters[0].name!r} with the frame it handles")
    union = get_origin(annotation) in (Union, UnionType)
    routes: list[Route] = []
    for frame in get_args(annotation) if union else (annotation,):
        frame = get_origin(frame) or frame
        if not (isinstance(frame, type) and issubclass(frame, Frame)):
            raise TypeError(f"{where} handles {frame!r}, which is not a frame; see @frame")
        expected = _form_for(frame)
        if _form_of(method, parameters) is not expected:
            raise TypeError(
                f"{where} does not fit {frame.__name__}, a {_base_of(frame).__name__}; "
                f"write {expected.value}"
            )
        routes.append(Route(frame, name, expected))
    return routes


def _form_of(method: Callable[..., Any], parameters: list[inspect.Parameter]) -> Form | None:
    is_async = inspect.iscoroutinefunction(method)
    match is_async, len(parameters):
        case True, 1:
            return Form.RETURNING
        case True, 2:
            return Form.STREAMING
        case False, 1:
            return Form.CONTROL
        case _:
            return None


def _base_of(frame: type[Frame]) -> type[Frame]:
    bases: tuple[type[Frame], ...] = (ControlFrame, StreamRequest, Request)
    return next((base for base in bases if issubclass(frame, base)), Frame)

"""
Frames: the immutable values that actors send to one another.

A frame class is a frozen, slotted attrs class made by `@frame` from one of four bases, and the base
says how the frame may be used:

==================  =====================  ===========================================
base                sent by                handled by
==================  =====================  ===========================================
`Frame`             ``tell``               ``async def`` that returns nothing
`Request`           ``ask`` (or ``tell``)  ``async def`` that returns the reply
`StreamRequest`     ``stream``             ``async def`` that also takes ``emit``
`ControlFrame`      ``tell``               plain ``def``, called at once
==================  =====================  ===========================================
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar, cast, dataclass_transform, get_origin

import attrs

__all__ = ["ControlFrame", "Frame", "Request", "StreamRequest", "frame", "registered_frames"]

ReplyT_co = TypeVar("ReplyT_co", covariant=True)
FrameT_co = TypeVar("FrameT_co", covariant=True)
ClassT = TypeVar("ClassT", bound=type)

# What a field of a frame may not be declared as: two actors would share it.
_MUTABLE = (list, dict, set, bytearray)


class Frame:
    """
    A value sent to an actor; the base of every other kind of frame.

    Frames of this very kind are data: kept in order with the sender's other data frames, and
    sent with ``tell``, which expects no reply.
    """

    __slots__ = ()

    #: True for frames that an interruption neither cancels nor skips.
    uninterruptible: ClassVar[bool] = False

    #: True for frames that are taken before those of the data lane: they travel in a lane of their
    #: own, of the same capacity, so that a full data lane does not hold them up. For frames that
    #: are told, to actors with a handler for an express class; any other actor has them as data.
    express: ClassVar[bool] = False


class Request(Frame, Generic[ReplyT_co]):
    """A data frame with one reply: ``await ref.ask(request)`` returns a *ReplyT_co*."""

    __slots__ = ()


class StreamRequest(Frame, Generic[FrameT_co]):
    """A data frame answered by many frames: ``async with ref.stream(request)`` yields *FrameT_co*."""

    __slots__ = ()


class ControlFrame(Frame):
    """
    A frame handled at once by a plain function, also while a data handler is suspended.

    It travels in a lane of its own, so that a full mailbox does not hold it up.
    """

    __slots__ = ()


_registry: dict[str, type[Frame]] = {}


def registered_frames() -> Iterator[type[Frame]]:
    """Return an iterator over every class that `frame` has made, in order of definition."""
    return iter(tuple(_registry.values()))


def _is_mutable(annotation: object) -> str | None:
    """Return the mutable container that *annotation* names, or None."""
    if isinstance(annotation, str):
        head = annotation.split("[", 1)[0].strip().rpartition(".")[2]
        return next((kind.__name__ for kind in _MUTABLE if head == kind.__name__), None)
    origin = get_origin(annotation) or annotation
    return next((kind.__name__ for kind in _MUTABLE if origin is kind), None)


def _is_tuple(annotation: object) -> bool:
    if isinstance(annotation, str):
        return annotation.split("[", 1)[0].strip() in ("tuple", "Tuple", "typing.Tuple")
    return (get_origin(annotation) or annotation) is tuple


def _must_be_tuple(instance: object, attribute: Any, value: object) -> None:
    if not isinstance(value, tuple):
        raise TypeError(
            f"{type(instance).__name__}.{attribute.name} must be a tuple, not {value!r}; "
            f"write tuple(...)"
        )


def _immutable_fields(cls: type, fields: list[Any]) -> list[Any]:
    """Refuse fields declared as mutable containers; let no list in where a tuple is declared."""
    checked: list[Any] = []
    for field in fields:
        if kind := _is_mutable(field.type):
            raise TypeError(
                f"{cls.__name__}.{field.name} is declared as a {kind}; frames are shared between "
                f"actors, so write tuple[...] (or collections.abc.Mapping for a read-only mapping)"
            )
        if _is_tuple(field.type) and field.validator is None:
            field = field.evolve(validator=_must_be_tuple)
        checked.append(field)
    return checked


@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field,))
def frame(cls: ClassT) -> ClassT:
    """
    Make *cls* a frame: frozen, slotted, compared by value, and known to the registry.

    Fields are annotated as in any attrs class. A field declared as ``list``, ``dict``, ``set`` or
    ``bytearray`` is refused, and a field declared as a ``tuple`` takes nothing but a tuple; for
    other checks give ``attrs.field(validator=...)``.

    Raises:
        TypeError: *cls* derives from none of `Frame`, `Request`, `StreamRequest`, `ControlFrame`,
            or declares a field that two actors would share, or is `express` and not told.
    """
    if not issubclass(cls, Frame):
        raise TypeError(
            f"@frame needs a subclass of Frame, Request, StreamRequest or ControlFrame, "
            f"not {cls.__name__!r}; write class {cls.__name__}(Frame)"
        )
    if cls.express and issubclass(cls, (Request, StreamRequest, ControlFrame)):
        raise TypeError(
            f"{cls.__name__} can't be express, as only frames that are told can; "
            f"write class {cls.__name__}(Frame)"
        )
    made = attrs.define(
        cls, frozen=True, slots=True, weakref_slot=False, field_transformer=_immutable_fields
    )
    _registry[f"{made.__module__}:{made.__qualname__}"] = made
    return cast("ClassT", made)

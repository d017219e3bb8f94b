"""
The actor that runs tool calls, with exactly one result for each, whatever happens (I3).

A request is three things: the calls, each in a task of its own (or one task for all, in turn); a
`_Record` of what became of them, kept in the order in which it happened; and the handler's own
task, which alone emits what is in the record. So no tool waits for the asker, and what the asker
took is always a beginning of the record.

At the end, be it that every call has its result or that the handler is cancelled, the frames that
the asker has not taken go to `Emit.close`, with a result for each call that was cut off. Those are
final: what is neither taken by then nor later is in ``stream.closing``.
"""

import difflib
import logging
import traceback
from collections.abc import Callable, Iterable
from typing import Any, cast

import attrs
import trio
from pydantic_core import to_json

from greenroom.actors.llm import ToolCall, ToolSpec
from greenroom.actors.tools.errors import ToolError
from greenroom.actors.tools.frames import Dispatch, DispatchFrame, ToolResult, ToolStarted
from greenroom.actors.tools.tool import Tool
from greenroom.runtime import Actor, Emit, bare, handles

__all__ = ["Dispatcher"]

_log = logging.getLogger("greenroom.tools")


class Dispatcher(Actor, concurrency=8):
    """
    Runs the calls of `Dispatch` requests, up to 8 requests at once; made by ``spawn``.

    What a tool does wrong is a result with ``is_error``, never a crash: an unknown name, arguments
    that do not fit, an exception, a value that is not JSON, the end of its patience. The model
    reads the text of a `ToolError`; that of any other exception goes to ``detail`` and, with its
    traceback, to the logger ``greenroom.tools``. ``KeyboardInterrupt`` and ``SystemExit`` pass.

    When a request is cancelled, async functions are cancelled with it. A function in a thread runs
    on and is waited for, and its result counts, unless the tool says ``abandon``.

    A tool that itself dispatches to this dispatcher holds its own place meanwhile: give nested
    calls a dispatcher of their own.

    Args:
        tools: What may be called: tools, or functions to make tools of. Names are distinct.
        limit: Calls that run at once, over all requests, >= 1. Others wait for their turn.
        threads: Plain functions that run at once, each in a thread, >= 1.

    Raises:
        TypeError: a function cannot be a tool; see `Tool.of`.
        ValueError: two tools have one name.
    """

    def __init__(
        self,
        tools: Iterable[Tool[..., Any] | Callable[..., Any]],
        *,
        limit: int = 16,
        threads: int = 8,
    ) -> None:
        self._tools: dict[str, Tool[..., Any]] = {}
        for each in tools:
            tool = cast("Tool[..., Any]", each if isinstance(each, Tool) else Tool.of(each))
            if self._tools.setdefault(tool.name, tool) is not tool:
                raise ValueError(f"tools need distinct names, and {tool.name!r} is there twice")
        self._limit = trio.CapacityLimiter(limit)
        self._threads = trio.CapacityLimiter(threads)
        self._limits = {
            name: trio.CapacityLimiter(tool.concurrency)
            for name, tool in self._tools.items()
            if tool.concurrency is not None
        }

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as a model is told of them."""
        return tuple(tool.spec for tool in self._tools.values())

    @handles
    async def dispatch(self, request: Dispatch, emit: Emit[DispatchFrame]) -> None:
        """Run the calls of *request*; see `Dispatch`."""
        record = _Record(request.calls)
        reason: str | None = None
        try:
            with bare():
                async with trio.open_nursery() as nursery:
                    if request.parallel:
                        for call in request.calls:
                            nursery.start_soon(self._run, call, record, name=f"tool {call.name}")
                    else:
                        nursery.start_soon(self._run_in_turn, request.calls, record)
                    await record.emit_to(emit)
        except trio.Cancelled as cancelled:
            reason = cancelled.reason
            raise
        finally:
            record.close(emit, reason)

    async def _run_in_turn(  # noqa: ASYNC910 - each call is a checkpoint, if there is one
        self, calls: tuple[ToolCall, ...], record: "_Record"
    ) -> None:
        for call in calls:
            await self._run(call, record)

    async def _run(  # noqa: ASYNC910 - what it catches came after a checkpoint
        self, call: ToolCall, record: "_Record"
    ) -> None:
        """Run one call, and put its result on *record*; cancelled, it may have none."""
        try:
            try:
                text = await self._answer(call, record)
            except ToolError as error:
                record.settle(
                    call,
                    str(error) or f"tool {call.name!r} failed",
                    is_error=True,
                    detail=_described(error.__cause__),
                )
            else:
                record.settle(call, text)
        except Exception as error:
            _log.warning("tool %r failed in call %r", call.name, call.id, exc_info=error)
            text = f"tool {call.name!r} failed ({type(error).__name__})"
            record.settle(call, text, is_error=True, detail=_described(error))

    async def _answer(self, call: ToolCall, record: "_Record") -> str:
        """
        Return the text of the call's value.

        Raises:
            ToolError: there is none; the text tells the model why.
        """
        try:
            tool, arguments = self._prepared(call)
        except ToolError:
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise
        limit = self._limits.get(tool.name)
        if limit is None:
            return await self._call(tool, arguments, call, record)
        async with limit:  # the narrower limit first: whoever waits for it takes no other's place
            return await self._call(tool, arguments, call, record)

    async def _call(
        self, tool: Tool[..., Any], arguments: dict[str, Any], call: ToolCall, record: "_Record"
    ) -> str:
        async with self._limit:
            record.start(call)
            with trio.move_on_after(tool.patience):
                try:
                    return await self._function(tool, arguments)
                except trio.Cancelled:
                    if tool.abandon:
                        _log.warning("tool %r: call %r left its thread behind", tool.name, call.id)
                    raise
            raise ToolError(
                f"tool {tool.name!r} took longer than {tool.patience:g} s and was cancelled"
            )

    async def _function(self, tool: Tool[..., Any], arguments: dict[str, Any]) -> str:
        with bare():
            if tool.is_async:
                text = _text(tool.name, await tool.function(**arguments))
            else:
                text = await trio.to_thread.run_sync(
                    lambda: _text(tool.name, tool.function(**arguments)),
                    thread_name=f"tool {tool.name}",
                    abandon_on_cancel=tool.abandon,
                    limiter=self._threads,
                )
        return text

    def _prepared(self, call: ToolCall) -> tuple[Tool[..., Any], dict[str, Any]]:
        if call.fault is not None:
            raise ToolError(call.fault)
        tool = self._tools.get(call.name)
        if tool is None:
            close = difflib.get_close_matches(call.name, self._tools, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            names = ", ".join(self._tools) or "none"
            raise ToolError(f"no function named {call.name!r}{hint} There are: {names}")
        return tool, tool.bind(call.arguments)


class _Record:
    """What became of the calls of one request."""

    __slots__ = ("_began", "_frames", "_news", "_open", "_scope")

    def __init__(self, calls: tuple[ToolCall, ...]) -> None:
        self._open = {call.id: call for call in calls}  # those without a result, in order
        self._began: dict[str, float] = {}  # {call id: when its function began, Trio clock}
        self._frames: list[DispatchFrame] = []  # in the order they happened: at most two a call
        self._news = trio.Event()  # set by `_add`; replaced by `emit_to` once it has seen all
        self._scope = trio.CancelScope()  # around emitting; cancelled by the last result

    def start(self, call: ToolCall) -> None:
        """Note that the function of *call* begins."""
        self._began[call.id] = trio.current_time()
        self._add(ToolStarted(call.id, call.name))

    def settle(
        self, call: ToolCall, text: str, *, is_error: bool = False, detail: str = ""
    ) -> None:
        """Note the result of *call*."""
        now = trio.current_time()
        seconds = now - self._began.get(call.id, now)
        result = ToolResult(
            call.id, call.name, text, is_error=is_error, seconds=seconds, detail=detail
        )
        del self._open[call.id]
        self._add(result)
        if not self._open:
            self._scope.cancel(reason="every call has its result")

    def _add(self, frame: DispatchFrame) -> None:
        self._frames.append(frame)
        self._news.set()

    async def emit_to(  # noqa: ASYNC910 - waits for news, unless there are no calls
        self, emit: Emit[DispatchFrame]
    ) -> None:
        """Emit what happens until every call has its result; what is left then is for `close`."""
        sent = 0
        with self._scope:
            while self._open:
                for frame in self._frames[sent:]:
                    await emit(frame)
                    sent += 1
                if sent == len(self._frames):
                    self._news = trio.Event()
                    await self._news.wait()

    def close(self, emit: Emit[DispatchFrame], reason: str | None) -> None:
        """Give every call a result, and hand over all frames that were not taken."""
        why = f": {reason}" if reason else ""
        for call in tuple(self._open.values()):
            when = "" if call.id in self._began else " before it began"
            self.settle(call, f"tool {call.name!r} was cancelled{when}{why}", is_error=True)
        emit.close(*self._frames[emit.discard_unread() :])


def _text(tool: str, value: object) -> str:
    """
    Return *value* for the model: text as it is, anything else as JSON.

    Raises:
        ToolError: it is not JSON.
    """
    if isinstance(value, str):
        return value
    try:
        return to_json(value, inf_nan_mode="strings", fallback=_fields).decode()
    except Exception as error:
        raise ToolError(
            f"tool {tool!r} returned a value that is not JSON ({type(value).__name__})"
        ) from error


def _fields(value: Any) -> dict[str, Any]:
    """Return an attrs instance as a dict; for anything else, raise what pydantic does."""
    if attrs.has(value.__class__):
        return attrs.asdict(value, recurse=False)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _described(error: BaseException | None) -> str:
    """Return type and text of *error*, also where its own ``str`` fails."""
    return "".join(traceback.format_exception_only(error)).strip() if error else ""

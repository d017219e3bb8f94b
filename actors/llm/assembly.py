"""
`Assembly`: tool calls put together from the fragments that providers stream. Pure.

A call is found by the index of a fragment, with the id as fallback:

1. An index that is held is that call, unless the fragment has another id: then it is the call of
   that index and id, or a new one. (Servers are known that give every call the index 0.)
2. Without an index, an id that is known is that call, and one that is not begins a call.
3. With neither, the fragment belongs to the call begun last.
4. But a fragment with a name, for a call that has one and whose arguments are a whole JSON object,
   begins a new call: what it brings could not belong to the old one. A bare repetition of the same
   name does not.

A name may come in pieces, or whole in every delta (llama.cpp). So a piece that equals the name
held so far is a repetition, and any other is appended; only where the name held is no tool's and
the doubled one begins a tool's is an equal piece appended too.

Calls keep the order in which they began; indexes may start anywhere and have gaps. A call without
an id, or with the id of another call, gets a made one. Nothing is ever dropped: a call that cannot
be run says why in `ToolCall.fault`.
"""

import json
from collections.abc import Collection, Iterable

from greenroom.actors.llm.context import ToolCall
from greenroom.actors.llm.frames import ToolCallStarted
from greenroom.actors.llm.provider import CallFragment

__all__ = ["Assembly"]


class _Call:
    """A call as far as it has come."""

    __slots__ = ("arguments", "id", "index", "is_announced", "name", "place")

    def __init__(self, place: int, index: int | None) -> None:
        self.place = place
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.is_announced = False

    def is_whole(self) -> bool:
        """Return whether the arguments are a JSON object already."""
        last = next((piece for piece in reversed(self.arguments) if piece.strip()), "")
        return last.rstrip().endswith("}") and _argument_fault("".join(self.arguments)) is None


class Assembly:
    """
    The tool calls of one response.

    Args:
        tools: Names of the tools on offer; they decide whether an equal piece of a name repeats it.
    """

    __slots__ = ("_by_id", "_by_index", "_calls", "_tools")

    def __init__(self, tools: Collection[str] = ()) -> None:
        self._tools = tools
        self._calls: list[_Call] = []
        # {index: the call that took it last} and {id: the first call with it}; written by feed.
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    def __len__(self) -> int:
        """Return how many calls have begun."""
        return len(self._calls)

    def feed(self, fragments: Iterable[CallFragment]) -> tuple[ToolCallStarted, ...]:
        """
        Take *fragments* in, and return the calls whose name and id are now sure.

        A name is taken to be whole once arguments come.
        """
        started: list[ToolCallStarted] = []
        for fragment in fragments:
            call = self._find(fragment)
            if call is None:
                if not (fragment.id or fragment.name or fragment.arguments):
                    continue  # an empty entry, as some servers send first
                call = self._begin(fragment.index)
            if fragment.id and not call.id:
                call.id = fragment.id
                self._by_id.setdefault(fragment.id, call)
            if fragment.name:
                self._add_name(call, fragment.name)
            if fragment.arguments:
                call.arguments.append(fragment.arguments)
                # An id that another call has is replaced at the end, and so not sure.
                if call.name and self._by_id.get(call.id) is call and not call.is_announced:
                    call.is_announced = True
                    started.append(ToolCallStarted(call.place, call.name, call.id))
        return tuple(started)

    def announce(self) -> tuple[ToolCallStarted, ...]:
        """Return the calls that `feed` was not sure of; none of them twice. For the end."""
        started: list[ToolCallStarted] = []
        for call in self._calls:
            if not call.is_announced:
                call.is_announced = True
                started.append(ToolCallStarted(call.place, call.name, self._final_id(call)))
        return tuple(started)

    def finish(self) -> tuple[ToolCall, ...]:
        """Return all calls, in the order in which they began."""
        calls: list[ToolCall] = []
        for call in self._calls:
            sent = "".join(call.arguments)
            arguments = sent if sent.strip() else "{}"
            fault = _argument_fault(arguments) if call.name else "the call names no tool"
            calls.append(ToolCall(self._final_id(call), call.name, arguments, fault))
        return tuple(calls)

    def _find(self, fragment: CallFragment) -> _Call | None:
        """Return the call that *fragment* continues, or None if it begins one."""
        known = self._by_id.get(fragment.id) if fragment.id else None
        if fragment.index is None:
            if fragment.id:
                return known
            call = self._calls[-1] if self._calls else None
        elif fragment.index in self._by_index:
            call = self._by_index[fragment.index]
            if fragment.id and call.id == fragment.id:
                return call
            if fragment.id and call.id:
                return known if known is not None and known.index == fragment.index else None
        else:
            if known is not None and known.index is None:
                known.index = fragment.index
                self._by_index[fragment.index] = known
                return known
            return None
        return None if call is None or _begins_anew(call, fragment) else call

    def _begin(self, index: int | None) -> _Call:
        call = _Call(len(self._calls), index)
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def _add_name(self, call: _Call, piece: str) -> None:
        if piece != call.name:
            call.name += piece
        elif call.name not in self._tools:
            doubled = call.name + piece
            if any(tool.startswith(doubled) for tool in self._tools):
                call.name = doubled

    def _final_id(self, call: _Call) -> str:
        """Return the id of *call*, made now if it has none of its own."""
        if self._by_id.get(call.id) is not call:
            number = call.place
            while f"call_{number}" in self._by_id:
                number += 1
            call.id = f"call_{number}"
            self._by_id[call.id] = call
        return call.id


def _begins_anew(call: _Call, fragment: CallFragment) -> bool:
    """Return whether *fragment* cannot belong to *call* (rule 4)."""
    return bool(
        fragment.name
        and call.name
        and (fragment.name != call.name or fragment.arguments.strip())
        and call.is_whole()
    )


def _argument_fault(arguments: str) -> str | None:
    """Say why *arguments* cannot be used, in words for the model; None if they can."""
    try:
        value = json.loads(arguments)
    except ValueError as error:
        return f"the arguments are not valid JSON: {error}"
    except RecursionError:
        return "the arguments are nested too deeply"
    if isinstance(value, dict):
        return None
    kinds = {"list": "an array", "str": "a string", "bool": "a boolean", "NoneType": "null"}
    kind = kinds.get(type(value).__name__, "a number")
    return f"the arguments must be a JSON object, not {kind}"

"""
`ThinkSplitter`: reasoning that a model writes into its text, told apart by its tags. Pure.

Some servers send what a reasoning model writes as it is: ``<think>Let me see.</think>Forty-two``.
The rules, for a tag cut anywhere between two fragments:

1. An opening tag, wherever it stands in the text, begins reasoning; the next closing tag ends it.
2. An opening tag within reasoning is a part of it, not a nesting: a model that writes about tags
   must not have its whole answer taken for reasoning because one of them was never closed.
3. A closing tag without an opening one is taken out. (Templates that put the opening tag into the
   prompt make models that only send the closing one: such a response is split with *is_begun*.)
4. Reasoning that is never closed lasts to the end.
5. White space right after a tag belongs to the tag, as does white space before a first tag at the
   very beginning: nobody wants an answer that begins with blank lines.

Everything else is handed on, and only what may yet become a tag is held: fewer characters than the
longer tag has, and white space at the very beginning.
"""

from greenroom.actors.llm.frames import ReasoningDelta, TextDelta

__all__ = ["ThinkSplitter"]


class ThinkSplitter:
    """
    Splits the text of one response.

    Args:
        opening: The tag that begins reasoning; not empty.
        closing: The tag that ends it; not empty.
        is_begun: Whether the text begins within reasoning.
    """

    __slots__ = ("_closing", "_held", "_is_reasoning", "_opening", "_skips", "_space")

    def __init__(
        self, opening: str = "<think>", closing: str = "</think>", *, is_begun: bool = False
    ) -> None:
        self._opening = opening
        self._closing = closing
        self._is_reasoning = is_begun
        self._held = ""  # the end of what came, which may be the start of a tag
        self._skips = is_begun  # white space that comes next belongs to a tag
        # White space since the beginning; None once anything else came.
        self._space: str | None = None if is_begun else ""

    def feed(self, text: str) -> list[TextDelta | ReasoningDelta]:
        """Take in the next fragment, and return what it makes sure; none of it is empty."""
        pieces: list[TextDelta | ReasoningDelta] = []
        text = self._held + text
        at = 0
        while True:
            start, tag = self._next_tag(text, at)
            if tag is None:
                break
            self._hand_out(text[at:start], pieces)
            self._is_reasoning = tag is self._opening
            self._skips = True
            self._space = None
            at = start + len(tag)
        end = self._start_of_part(text, at)
        self._held = text[end:]
        self._hand_out(text[at:end], pieces)
        return pieces

    def end(self) -> list[TextDelta | ReasoningDelta]:
        """Return what was held: no more comes."""
        pieces: list[TextDelta | ReasoningDelta] = []
        held, self._held = self._held, ""
        self._hand_out(held, pieces)
        if self._space:  # the whole response is blank
            pieces.append(TextDelta(self._space))
        self._space = None
        return pieces

    def _tags(self) -> tuple[str, ...]:
        return (self._closing,) if self._is_reasoning else (self._opening, self._closing)

    def _next_tag(self, text: str, at: int) -> tuple[int, str | None]:
        """Return the place of the first whole tag from *at* on, and the tag; None for none."""
        found = [(start, tag) for tag in self._tags() if (start := text.find(tag, at)) >= 0]
        return min(found, key=lambda each: each[0]) if found else (len(text), None)

    def _start_of_part(self, text: str, at: int) -> int:
        """Return where an end of *text* begins that may be the start of a tag; else its length."""
        longest = max(map(len, self._tags())) - 1
        for start in range(max(at, len(text) - longest), len(text)):
            if any(tag.startswith(text[start:]) for tag in self._tags()):
                return start
        return len(text)

    def _hand_out(self, text: str, pieces: list[TextDelta | ReasoningDelta]) -> None:
        if self._skips:
            text = text.lstrip()
        if not text:
            return
        self._skips = False
        if self._space is not None:
            text = self._space + text
            if text.isspace():
                self._space = text
                return
            self._space = None
        pieces.append(ReasoningDelta(text) if self._is_reasoning else TextDelta(text))

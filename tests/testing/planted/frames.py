"""What the actors of the session say to one another."""

from greenroom.runtime import Frame, Ref, Request, StreamRequest, frame


@frame
class Turn(Request[str]):
    """Asks the desk for the answer to a text."""

    text: str


@frame
class History(Request[tuple[str, ...]]):
    """Asks the desk for what was said so far."""


@frame
class Chunk(Frame):
    """A part of a response, in the order in which the model makes them."""

    text: str


@frame
class Ended(Frame):
    """The end of a response: exactly one, however it ended."""

    status: str


@frame
class Generate(StreamRequest[Chunk | Ended]):
    """Asks the provider for a response to a text."""

    text: str


@frame
class Result(Frame):
    """What came of a tool call: exactly one for each."""

    name: str
    text: str


@frame
class Dispatch(StreamRequest[Result]):
    """Asks the worker to run these tools."""

    names: tuple[str, ...]


@frame
class Title(Request[str]):
    """Asks the desk's clerk for a title, for a text."""

    text: str


@frame
class Save(Request[None]):
    """Asks the journal to keep a line; done when it is durable."""

    text: str


@frame
class Index(Frame):
    """Tells the indexer of a text; it says so to *reply_to* when it has it."""

    text: str
    reply_to: Ref


@frame
class Indexed(Frame):
    """Tells the screen what can be searched for now."""

    text: str

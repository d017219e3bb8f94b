"""`Context`: versions that share, and what makes one a valid request."""

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.llm import (
    Assistant,
    Context,
    Developer,
    Message,
    System,
    ToolCall,
    ToolOutput,
    ToolSpec,
    User,
)

CALLS = Assistant("let me look", (ToolCall("c1", "look"), ToolCall("c2", "count")))


def test_a_version_never_changes_when_it_is_extended() -> None:
    """`with_` leaves the context it is called on as it was."""
    first = Context.of(System("be brief"), User("hello"))
    second = first.with_(Assistant("hi"))

    assert first.messages == (System("be brief"), User("hello"))
    assert second.messages == (System("be brief"), User("hello"), Assistant("hi"))
    assert (first.version, second.version) == (0, 1)
    assert (len(first), len(second)) == (2, 3)
    # Asked again, after the newer version took the tuple over.
    assert first.messages == (System("be brief"), User("hello"))


def test_two_branches_of_one_version_do_not_meet() -> None:
    """Extending one version twice gives two conversations with one beginning."""
    root = Context.of(User("2 + 2?"))
    left, right = root.with_(Assistant("4")), root.with_(Assistant("5"), User("sure?"))

    assert left.messages == (User("2 + 2?"), Assistant("4"))
    assert right.messages == (User("2 + 2?"), Assistant("5"), User("sure?"))
    assert root.messages == (User("2 + 2?"),)


@given(st.lists(st.lists(st.integers(), max_size=3), max_size=12), st.randoms())
def test_messages_are_those_added_in_whatever_order_versions_are_asked(
    steps: list[list[int]], random: object
) -> None:
    """The tuple that moves between versions is right for each of them."""
    versions = [Context.of()]
    expected: list[tuple[Message, ...]] = [()]
    for step in steps:
        added = tuple(User(str(number)) for number in step)
        versions.append(versions[-1].with_(*added))
        expected.append(expected[-1] + added)
    order = list(range(len(versions))) * 2
    random.shuffle(order)  # type: ignore[attr-defined] # pyright: ignore

    for at in order:
        assert versions[at].messages == expected[at]
        assert len(versions[at]) == len(expected[at])


def test_adding_to_a_long_context_shares_what_is_there() -> None:
    """A thousand versions of a conversation of 10 000 messages take no thousand copies."""
    context = Context.of(*(User(str(number)) for number in range(10_000)))
    tracemalloc.start()
    try:
        versions = [context]
        for number in range(1_000):
            versions.append(versions[-1].with_(User(str(number))))
            assert len(versions[-1].messages) == 10_001 + number
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # One tuple of 11 000 pointers and a thousand small versions; copies would be 80 MB.
    assert size < 1_500_000


def test_a_very_long_chain_is_built_and_dropped_without_recursion() -> None:
    """Neither the tuple nor the release of a chain of 100 000 versions recurses."""
    context = Context.of()
    for _ in range(100_000):
        context = context.with_(User("x"))

    assert len(context.messages) == 100_000
    del context
    gc.collect()


def test_nothing_added_is_the_same_version() -> None:
    """`with_` without messages makes no version."""
    context = Context.of(User("hello"))

    assert context.with_() is context


def test_contexts_are_equal_by_messages_and_tools() -> None:
    """How a context came about does not count in a comparison."""
    tool = ToolSpec("look", "Look it up")
    slow = Context.of().with_(User("a")).with_(User("b")).with_tools([tool])

    assert slow == Context.of(User("a"), User("b"), tools=[tool])
    assert slow != Context.of(User("a"), User("b"))
    assert slow != Context.of(User("a"), User("c"), tools=[tool])
    assert slow != "a context"
    assert slow.version == 3
    assert slow.tools == (tool,)


def test_an_empty_context_is_true() -> None:
    """A context without messages is not taken for no context."""
    assert Context.of()
    assert len(Context.of()) == 0


def test_what_is_no_message_is_refused() -> None:
    """Text is not taken for a message, and the error says what to write."""
    with pytest.raises(TypeError, match=r"not 'hello' \(str\); write User"):
        Context.of("hello")  # type: ignore[arg-type] # pyright: ignore


def test_two_tools_of_one_name_are_refused() -> None:
    """A provider would refuse them, and nobody could say which was called."""
    with pytest.raises(ValueError, match="'look' is there twice"):
        Context.of(tools=[ToolSpec("look"), ToolSpec("look")])


def test_a_tool_keeps_a_private_copy_of_its_schema() -> None:
    """Changing the mapping that was given changes no tool."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = ToolSpec("weather", parameters=schema)
    schema["properties"] = {}

    assert tool.parameters["properties"] == {"city": {"type": "string"}}
    with pytest.raises(TypeError):
        tool.parameters["properties"]["city"] = None


def test_repr_tells_the_size_and_not_the_content() -> None:
    """Contexts stand in events and messages, where their text has no place."""
    assert repr(Context.of(User("my secret"))) == "<Context version 0: 1 messages, 0 tools>"


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        ((), []),
        ((User("x"),), []),
        ((User("x"), CALLS), ["c1", "c2"]),
        ((User("x"), CALLS, ToolOutput("c2", "4")), ["c1"]),
        ((User("x"), CALLS, ToolOutput("c2", "4"), ToolOutput("c1", "4")), []),
        ((User("x"), CALLS, User("never mind")), []),
        ((ToolOutput("c1", "4"),), []),
    ],
)
def test_open_calls_are_those_of_the_last_response_without_output(
    messages: tuple[Message, ...], left: list[str]
) -> None:
    """What can still be answered at the end of the context is open."""
    assert [call.id for call in Context.of(*messages).open_calls()] == left


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ((), None),
        ((System("s"), Developer("d"), User("u"), Assistant("a"), User("u")), None),
        ((User("x"), CALLS, ToolOutput("c2", "4"), ToolOutput("c1", "4"), Assistant("a")), None),
        ((CALLS, ToolOutput("c1", ""), ToolOutput("c2", ""), CALLS), "no output yet for c1, c2"),
        ((CALLS, ToolOutput("c1", "4")), "no output yet for c2"),
        ((CALLS, ToolOutput("c1", "4"), User("and?")), "message 2 (User) stands before the output"),
        ((ToolOutput("c1", "4"),), "message 0 is a ToolOutput for 'c1'"),
        ((CALLS, *(ToolOutput("c1", "4") for _ in "12")), "message 2 is a ToolOutput for 'c1'"),
        ((Assistant("", (ToolCall("c", "f"),) * 2),), "message 0 has two calls of one id: c, c"),
    ],
)
def test_problems_say_why_a_context_is_no_valid_request(
    messages: tuple[Message, ...], problem: str | None
) -> None:
    """Every call needs exactly one output right after the response that made it (I8)."""
    problems = Context.of(*messages).problems()

    if problem is None:
        assert problems == ()
    else:
        assert problems
        assert problems[0].startswith(problem)

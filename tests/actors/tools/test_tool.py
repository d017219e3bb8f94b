"""Functions as tools: their schemas, and the check of what a model sends."""

import contextlib
import dataclasses
import datetime
import enum
import functools
import json
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, Optional

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict

from greenroom.actors.llm.frozen import thaw
from greenroom.actors.tools import InvalidArguments, Tool, ToolError, tool


class Colour(enum.Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    """A place."""

    x: int
    y: int = 0


class Filter(TypedDict):
    """A mapping with known keys."""

    tag: str


class Order(pydantic.BaseModel):
    """A model of the user's own."""

    item: str
    count: int = 1


def schema_of(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Return the JSON Schema of *function*'s arguments, as plain dicts and lists."""
    parameters: dict[str, Any] = thaw(Tool.of(function, **options).spec.parameters)
    return parameters


def property_of(annotation: Any) -> Any:
    """Return the JSON Schema of one parameter of this type."""

    def function(value: Any) -> None: ...

    function.__annotations__["value"] = annotation
    schema = schema_of(function)
    assert schema["required"] == ["value"]
    part = schema["properties"]["value"]
    return schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part


@tool
def search(query: str, limit: int = 10, *, exact: bool | None = None) -> list[str]:
    """
    Search the notes.

    Args:
        query: Words to look for.
        limit: Most notes to return.
    """
    return [query] * limit


SCHEMAS = [
    (int, {"type": "integer"}),
    (Literal["a", "b"], {"enum": ["a", "b"], "type": "string"}),
    (
        Colour,
        {
            "enum": ["red", "blue"],
            "title": "Colour",
            "description": "A choice.",
            "type": "string",
        },
    ),
    (Annotated[int, pydantic.Field(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}),
    (list[str], {"type": "array", "items": {"type": "string"}}),
    (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
    (Optional[str], {"anyOf": [{"type": "string"}, {"type": "null"}]}),  # noqa: UP045
    (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
    (datetime.date, {"type": "string", "format": "date"}),
    (
        Filter,
        {
            "type": "object",
            "title": "Filter",
            "description": "A mapping with known keys.",
            "properties": {"tag": {"type": "string"}},
            "required": ["tag"],
            "additionalProperties": False,
        },
    ),
    (
        Point,
        {
            "type": "object",
            "title": "Point",
            "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}},
            "required": ["x"],
            "additionalProperties": False,
        },
    ),
    (
        Order,
        {
            "type": "object",
            "title": "Order",
            "description": "A model of the user's own.",
            "properties": {"item": {"type": "string"}, "count": {"type": "integer", "default": 1}},
            "required": ["item"],
        },
    ),
]


@pytest.mark.parametrize(("annotation", "schema"), SCHEMAS, ids=lambda value: str(value)[:40])
def test_schema_follows_the_annotation(annotation: Any, schema: dict[str, Any]) -> None:
    """Each kind of annotation has its JSON Schema."""
    found = property_of(annotation)
    if annotation is Point:
        found.pop("description", None)  # pydantic releases differ in taking it over

    assert found == schema


def test_case_37_schema_comes_from_signature_and_docstring() -> None:
    """Name, description, parameters, defaults and what is required are the function's own."""
    assert search.name == "search"
    assert search.spec.description == "Search the notes."
    assert thaw(search.spec.parameters) == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "Words to look for."},
            "limit": {"type": "integer", "default": 10, "description": "Most notes to return."},
            "exact": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": None},
        },
        "required": ["query"],
        "additionalProperties": False,
    }


def test_tool_is_still_a_function() -> None:
    """A decorated function is called as before."""
    assert search("a", 2) == ["a", "a"]
    assert repr(search) == "<Tool 'search'>"


def test_options_of_the_decorator_reach_the_tool() -> None:
    """``@tool(...)`` takes the options of `Tool.of`."""

    @tool(name="look-up", description="Look.", patience=5, concurrency=2, abandon=True)
    def function() -> None:
        """Something else."""

    assert function.spec.name == "look-up"
    assert function.spec.description == "Look."
    assert (function.patience, function.concurrency, function.abandon) == (5, 2, True)


def test_description_of_the_annotation_wins() -> None:
    """A description given in ``Annotated`` is not replaced by the docstring's."""

    def function(n: Annotated[int, pydantic.Field(description="own")]) -> None:
        """
        Do it.

        Args:
            n: from the docstring
        """

    assert schema_of(function)["properties"]["n"]["description"] == "own"


def test_default_that_is_not_json_is_kept_from_the_schema() -> None:
    """A default that JSON cannot hold makes the parameter optional, and no more is said."""

    def function(n: int = object()) -> None: ...  # type: ignore[assignment] # pyright: ignore

    assert schema_of(function)["properties"] == {"n": {"type": "integer"}}
    assert "required" not in schema_of(function)


def test_parameters_may_have_any_name() -> None:
    """Names that pydantic keeps for itself are fine."""

    def function(json: int, model_config: int, self: int, p0: int) -> None: ...

    arguments = {"json": 1, "model_config": 2, "self": 3, "p0": 4}

    assert Tool.of(function).bind(json.dumps(arguments)) == arguments


class Notes:
    """An object with methods."""

    def read(self, number: int) -> str:
        """Read a note."""
        return f"note {number}"

    async def __call__(self, number: int) -> None:
        """Throw a note away."""


def test_methods_and_callables_become_tools() -> None:
    """A bound method has no ``self``; an object that can be called needs a name."""
    read, throw = Tool.of(Notes().read), Tool.of(Notes(), name="throw")

    assert read.function(**read.bind('{"number": 3}')) == "note 3"
    assert not read.is_async
    assert throw.is_async
    assert throw.spec.description == "Throw a note away."
    assert list(throw.spec.parameters["properties"]) == ["number"]


def test_what_a_partial_binds_is_not_shown_to_the_model() -> None:
    """A secret that is bound by name is no parameter: neither in the schema nor settable."""

    async def fetch(path: str, key: str) -> str:
        """Fetch."""
        return f"{path} {key}"

    made = Tool.of(functools.partial(fetch, key="sk-secret"))

    assert made.name == "fetch"
    assert made.is_async
    assert "sk-secret" not in str(made.spec)
    with pytest.raises(InvalidArguments, match="there is no argument 'key'"):
        made.bind('{"path": "/", "key": "mine"}')


def takes_anything(*args: int) -> None: ...
def takes_all(**kwargs: int) -> None: ...
def by_place(n: int, /) -> None: ...
def untyped(n) -> None: ...  # type: ignore[no-untyped-def] # pyright: ignore
def nowhere(n: "Nowhere") -> None: ...  # type: ignore[name-defined] # pyright: ignore # noqa: F821
def nested(n: list["Nowhere"]) -> None: ...  # type: ignore[name-defined] # pyright: ignore # noqa: F821
def no_json(n: Notes) -> None: ...
def called(n: Callable[[], int]) -> None: ...
def field(n: int = pydantic.Field(1)) -> None: ...


REFUSED: list[tuple[Callable[..., Any], str]] = [
    (takes_anything, "parameter 'args' takes any number of arguments"),
    (takes_all, "parameter 'kwargs' takes any number of arguments"),
    (by_place, "parameter 'n' is positional-only"),
    (untyped, "annotate parameter 'n'"),
    (Notes.read, r"annotate parameter 'self'; for a method, .* Tool.of\(instance.method\)"),
    (nowhere, "name 'Nowhere' is not defined"),
    (nested, "Nowhere"),
    (no_json, "has no JSON Schema: .*Notes"),
    (called, "has no JSON Schema: "),
    (field, r"write Annotated\[type, Field"),
]


@pytest.mark.parametrize(("function", "message"), REFUSED)
def test_function_that_json_cannot_fill_is_refused(
    function: Callable[..., Any], message: str
) -> None:
    """Where it is decorated, a TypeError names the tool and the parameter."""
    with pytest.raises(TypeError, match=f"tool '{function.__name__}': .*{message}"):
        Tool.of(function)


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"name": "two words"}, "a tool's name must be 1 to 64 letters.*'two words'"),
    ({"name": "x" * 65}, "must be 1 to 64 letters"),
    ({"patience": 0}, "patience must be seconds > 0, or math.inf for no bound, not 0"),
    ({"patience": math.nan}, "patience must be"),
    ({"concurrency": 0}, "concurrency must be an int >= 1, not 0"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_option_out_of_its_range_is_refused(options: dict[str, Any], message: str) -> None:
    """A ValueError names the option, the value and the range."""
    with pytest.raises(ValueError, match=message):
        Tool.of(untyped_nothing, **options)


def untyped_nothing() -> None:
    """Take nothing."""


def test_lambda_needs_a_name() -> None:
    """A function without a name that a model could say is refused, with what to write."""
    with pytest.raises(ValueError, match=r"not '<lambda>'; write name='\.\.\.'"):
        Tool.of(lambda: None)


def test_abandon_is_for_threads() -> None:
    """An async function has no thread to abandon."""

    async def function() -> None: ...

    with pytest.raises(ValueError, match="abandon=True is for functions that run in a thread"):
        Tool.of(function, abandon=True)


def test_strict_schema_requires_every_property() -> None:
    """A strict schema, nested objects too, has no optional properties and no defaults."""

    def function(point: Point, limit: int = 10) -> None: ...

    schema = schema_of(function, strict=True)

    assert Tool.of(function, strict=True).spec.strict
    assert schema["required"] == ["point", "limit"]
    assert schema["$defs"]["Point"]["required"] == ["x", "y"]
    assert "default" not in str(schema)


def test_strict_refuses_free_keys() -> None:
    """A provider cannot enforce a mapping with any keys; the error says what to write."""

    def function(rows: list[dict[str, int]]) -> None: ...

    with pytest.raises(TypeError, match=r"strict=True allows no mapping with free keys; write"):
        Tool.of(function, strict=True)


def everything(
    *,
    n: int = 0,
    f: float = 0.0,
    s: str = "",
    colour: Colour = Colour.RED,
    day: datetime.date | None = None,
    point: Point | None = None,
    tags: tuple[str, ...] = (),
    either: int | list[int] | None = None,
    even: Annotated[int, pydantic.AfterValidator(lambda n: even(n))] = 0,
    short: Annotated[str, pydantic.Field(max_length=3)] = "",
) -> None:
    """Take everything."""


def even(n: int) -> int:
    """Let only even numbers pass."""
    if n % 2:
        raise ValueError("must be even")
    return n


EVERYTHING = Tool.of(everything)

BOUND: list[tuple[str, dict[str, Any]]] = [
    ("{}", {}),
    ('{"n": 3, "s": "x"}', {"n": 3, "s": "x"}),
    ('{"f": 1}', {"f": 1.0}),
    ('{"colour": "blue"}', {"colour": Colour.BLUE}),
    ('{"day": "2026-11-22"}', {"day": datetime.date(2026, 11, 22)}),
    ('{"day": null}', {"day": None}),
    ('{"point": {"x": 1}}', {"point": Point(1)}),
    ('{"tags": ["a"]}', {"tags": ("a",)}),
    ('{"either": [1]}', {"either": [1]}),
]


@pytest.mark.parametrize(("sent", "bound"), BOUND)
def test_valid_arguments_are_bound(sent: str, bound: dict[str, Any]) -> None:
    """JSON becomes Python values of the annotated types; what was not sent is left out."""
    assert EVERYTHING.bind(sent) == bound


FAULTS = [
    ('{"n": "10"}', r"argument 'n' should be int, got '10' \(str\)"),
    ('{"n": 1.5}', r"argument 'n' should be int, got 1\.5 \(float\)"),
    ('{"n": true}', r"argument 'n' should be int, got True \(bool\)"),
    ('{"n": null}', r"argument 'n' should be int, got null"),
    ('{"s": 1}', r"argument 's' should be str, got 1 \(int\)"),
    ('{"colour": "green"}', r"argument 'colour' should be 'red' or 'blue', got 'green' \(str\)"),
    ('{"day": "soon"}', r"argument 'day' should be a valid date.*, got 'soon' \(str\)"),
    ('{"point": {"y": 1}}', r"argument 'point\.x' is missing"),
    ('{"point": {"x": "1"}}', r"argument 'point\.x' should be int, got '1' \(str\)"),
    ('{"point": {"x": 1, "z": 1}}', r"there is no argument 'point\.z'"),
    ('{"point": 1}', r"argument 'point' should be .*, got 1 \(int\)"),
    ('{"tags": ["a", 2]}', r"argument 'tags\.1' should be str, got 2 \(int\)"),
    ('{"either": "x"}', r"argument 'either' should be int or list, got 'x' \(str\)$"),
    ('{"even": 3}', r"argument 'even': must be even, got 3 \(int\)"),
    ('{"short": "long"}', r"argument 'short': String should have at most 3 characters"),
    ('{"N": 1}', r"there is no argument 'N'; the arguments are: 'n', 'f', 's', "),
    ("", "the arguments are not valid JSON: EOF"),
    ('{"n": ', "the arguments are not valid JSON: EOF"),
    ("[1]", r"the arguments should be a JSON object, got \[1\] \(list\)"),
    ("null", "the arguments should be a JSON object, got null"),
]


@pytest.mark.parametrize(("sent", "message"), FAULTS)
def test_invalid_arguments_name_field_and_expectation(sent: str, message: str) -> None:
    """The text for the model names the tool, the argument, what was expected and what came."""
    with pytest.raises(InvalidArguments, match=f"^tool 'everything': {message}"):
        EVERYTHING.bind(sent)


def test_all_faults_are_listed() -> None:
    """Several faults are told at once, so that the model can mend them at once."""
    with pytest.raises(ToolError) as caught:
        search.bind('{"limit": "10", "top": 1}')

    assert str(caught.value) == (
        "tool 'search': argument 'query' is missing; there is no argument 'top'; argument 'limit' "
        "should be int, got '10' (str); the arguments are: 'query', 'limit', 'exact'"
    )


def test_text_about_faults_is_bounded() -> None:
    """A long value is cut, and of many faults the first eight are told."""
    sent = {"query": ["x" * 1000], **{f"no{n}": 1 for n in range(20)}}
    with pytest.raises(InvalidArguments) as caught:
        search.bind(json.dumps(sent))

    assert "and 13 more faults; the arguments are: " in str(caught.value)
    assert len(str(caught.value)) < 500


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_bind_never_raises_anything_else(sent: str) -> None:
    """Whatever text comes, the arguments are bound or the model is told why not."""
    bound: dict[str, Any] = {}
    with contextlib.suppress(InvalidArguments):
        bound = search.bind(sent)

    assert set(bound) <= {"query", "limit", "exact"}


@given(
    st.fixed_dictionaries(
        {"query": st.text(st.characters(exclude_categories=["Cs"]))},
        optional={"limit": st.integers(), "exact": st.none() | st.booleans()},
    )
)
def test_bind_gives_back_what_fits(arguments: dict[str, Any]) -> None:
    """Arguments that fit the schema arrive unchanged."""
    assert search.bind(json.dumps(arguments)) == arguments

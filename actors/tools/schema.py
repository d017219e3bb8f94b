"""
What a function takes: the JSON Schema that the model is shown, and the check of what it sends.

Both come from one pydantic model, made from the signature. Its fields have names of our own, with
the parameters' names as aliases: a parameter may be called ``json`` or ``model_config``.
"""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from pydantic_core import ErrorDetails

from greenroom.actors.tools.errors import InvalidArguments

__all__ = ["Arguments"]

_REFUSED: Final = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only",
    inspect.Parameter.VAR_POSITIONAL: "takes any number of arguments",
    inspect.Parameter.VAR_KEYWORD: "takes any number of arguments",
}
_MOST_FAULTS: Final = 8
_MOST_SHOWN: Final = 60  # characters of a wrong value that are told back

# What the model is told a value should be, where pydantic's own words are longer.
_TYPES: Final = {
    "int_type": "int",
    "int_from_float": "int",
    "float_type": "float",
    "bool_type": "bool",
    "string_type": "str",
    "list_type": "list",
    "none_required": "null",
    "model_type": "a JSON object",
    "model_attributes_type": "a JSON object",
    "dataclass_type": "a JSON object",
    "dict_type": "a JSON object",
}


class _Schema(GenerateJsonSchema):
    """Leaves out what costs tokens and tells a model nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Ignore: a default that is not JSON is left out of the schema."""


class Arguments:
    """
    The parameters of *function*, as the tool *name* has them.

    Attributes:
        schema: JSON Schema, an object.

    Raises:
        TypeError: a parameter cannot be filled from JSON by its name; the text says why.
    """

    __slots__ = ("_fields", "_model", "_tool", "schema")

    def __init__(
        self,
        function: Callable[..., object],
        name: str,
        descriptions: Mapping[str, str],
        *,
        strict: bool,
    ) -> None:
        self._tool = name
        self._fields: dict[str, str] = {}  # {field of the model: parameter}
        fields: dict[str, Any] = {}
        for parameter in _parameters(function, name):
            field = f"p{len(fields)}"
            self._fields[field] = parameter.name
            fields[field] = _field(parameter, descriptions.get(parameter.name))
        try:
            self._model: type[BaseModel] = create_model(
                f"arguments of {name}",
                __config__=ConfigDict(extra="forbid"),
                __module__=getattr(function, "__module__", None) or __name__,
                **fields,
            )
            self.schema: dict[str, Any] = self._model.model_json_schema(schema_generator=_Schema)
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            reason = error.message.splitlines()[0].partition(". Set `arbitrary")[0]
            raise TypeError(f"tool {name!r}: a parameter has no JSON Schema: {reason}") from error
        self.schema.pop("title", None)
        if strict:
            _make_strict(self.schema, name)

    def read(self, text: str) -> dict[str, Any]:
        """
        Check *text*, a JSON object, and return the keyword arguments that it gives.

        Raises:
            InvalidArguments: it is something else; the text tells the model all that is wrong.
        """
        try:
            made = self._model.model_validate_json(text, strict=True)
        except ValidationError as error:
            faults = self._faults(error.errors(include_url=False, include_context=False), text)
            raise InvalidArguments(f"tool {self._tool!r}: {faults}") from None
        given = made.model_fields_set
        return {
            name: getattr(made, field) for field, name in self._fields.items() if field in given
        }

    def _faults(self, errors: list[ErrorDetails], text: str) -> str:
        if errors[0]["type"] == "json_invalid":
            reason = _after(errors[0]["msg"], "Invalid JSON: ")
            return f"the arguments are not valid JSON: {reason}"
        sent = json.loads(text)
        faults: list[str] = []
        wanted: dict[str, list[str]] = {}  # {start of a fault: what the value should be}
        ends: dict[str, str] = {}  # {start of a fault: what the value is}
        unknown = False  # whether an argument itself is, so that their names help
        for error in errors:
            where = _where(error, sent)
            shown = _shown(error["input"])
            kind, message = error["type"], error["msg"]
            should = _TYPES.get(kind) or _after(message, "Input should be ")
            if kind == "missing":
                faults.append(f"{where} is missing")
            elif kind in ("extra_forbidden", "unexpected_keyword_argument"):
                unknown = unknown or len(error["loc"]) == 1
                faults.append(f"there is no {where}")
            elif should:
                wanted.setdefault(where, []).append(should)
                ends[where] = shown
            else:
                reason = _after(message, "Value error, ") or _after(message, "Assertion failed, ")
                faults.append(f"{where}: {reason or message}, got {shown}")
        for where, expected in wanted.items():
            either = " or ".join(dict.fromkeys(expected))
            faults.append(f"{where} should be {either}, got {ends[where]}")
        if len(faults) > _MOST_FAULTS:
            faults[_MOST_FAULTS:] = [f"and {len(faults) - _MOST_FAULTS} more faults"]
        if unknown:
            names = ", ".join(repr(name) for name in self._fields.values())
            faults.append(f"the arguments are: {names}" if names else "it takes no arguments")
        return "; ".join(faults)


def _parameters(function: Callable[..., object], name: str) -> list[inspect.Parameter]:
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception as error:
        raise TypeError(
            f"tool {name!r}: can't read the signature of {function!r} ({error}); annotations must "
            f"name what is known at module level"
        ) from error
    bound = function.keywords if isinstance(function, functools.partial) else {}
    parameters = [each for each in signature.parameters.values() if each.name not in bound]
    for parameter in parameters:
        if parameter.kind in _REFUSED:
            raise TypeError(
                f"tool {name!r}: parameter {parameter.name!r} {_REFUSED[parameter.kind]}, and a "
                f"model gives arguments by name; wrap it in a function of named parameters"
            )
        if parameter.annotation is inspect.Parameter.empty:
            raise TypeError(
                f"tool {name!r}: annotate parameter {parameter.name!r}; for a method, decorate "
                f"nothing and write Tool.of(instance.method)"
            )
        if isinstance(parameter.default, FieldInfo):
            raise TypeError(
                f"tool {name!r}: parameter {parameter.name!r} has Field(...) as its default; write "
                f"Annotated[type, Field(...)] and a plain default"
            )
    return parameters


def _field(parameter: inspect.Parameter, description: str | None) -> tuple[Any, Any]:
    options: dict[str, Any] = {"alias": parameter.name}
    if parameter.default is not inspect.Parameter.empty:
        options["default"] = parameter.default
    own = (each.description for each in get_args(parameter.annotation) if _is_field(each))
    if description and not any(own):
        options["description"] = description
    return parameter.annotation, Field(**options)


def _is_field(value: object) -> bool:
    return isinstance(value, FieldInfo)


def _make_strict(schema: dict[str, Any], tool: str) -> None:
    """Change *schema* to what providers can enforce: every property required, and no others."""
    if schema.get("type") == "object":
        if isinstance(schema.get("additionalProperties"), dict) or "properties" not in schema:
            raise TypeError(
                f"tool {tool!r}: strict=True allows no mapping with free keys; write a TypedDict, "
                f"a dataclass or a pydantic model, or leave strict out"
            )
        schema["additionalProperties"] = False
        schema["required"] = list(schema["properties"])
    schema.pop("default", None)  # it would have to be sent all the same
    for key in ("properties", "$defs"):
        for part in schema.get(key, {}).values():
            _make_strict(part, tool)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for part in schema.get(key, ()):
            _make_strict(part, tool)
    if isinstance(schema.get("items"), dict):
        _make_strict(schema["items"], tool)


def _where(error: ErrorDetails, sent: Any) -> str:
    """Name the place in *sent*; a location also holds names of union members, which are not."""
    path: list[str] = []
    for part in error["loc"]:
        try:
            sent = sent[part]
        except (LookupError, TypeError):
            continue
        path.append(str(part))
    if error["type"] == "missing":
        path.append(str(error["loc"][-1]))
    return f"argument {'.'.join(path)!r}" if path else "the arguments"


def _after(text: str, start: str) -> str:
    return text.removeprefix(start) if text.startswith(start) else ""


def _shown(value: object) -> str:
    if value is None:
        return "null"
    text = repr(value)
    if len(text) > _MOST_SHOWN:
        text = f"{text[:_MOST_SHOWN]}..."
    return f"{text} ({type(value).__name__})"

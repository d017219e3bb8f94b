"""A calculator for agents: arithmetic read by Python's parser and computed within bounds."""

import ast
import math
from collections.abc import Callable
from typing import Any

from greenroom.actors.tools import ToolError

__all__ = ["calculate"]

_MAX_LENGTH = 200  # characters of an expression; also bounds its depth
_MAX_BITS = 1024  # bits of a whole number on the way: a power past it is refused, not computed

_BINARY: dict[type[ast.operator], Callable[[Any, Any], float]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Mod: lambda left, right: left % right,
    ast.Pow: lambda left, right: left**right,
}
_FUNCTIONS: dict[str, Callable[[float], float]] = {"sqrt": math.sqrt, "abs": abs, "round": round}
_CONSTANTS = {"pi": math.pi, "e": math.e}


def calculate(expression: str) -> dict[str, str | float]:
    """
    Compute an arithmetic expression.

    Args:
        expression: Such as (1898 - 568) / 568: numbers, + - * / // % ** (or ^), parentheses, the functions
            sqrt, abs and round, and the constants pi and e.

    Returns:
        The expression and its value, to twelve significant digits.

    Raises:
        ToolError: The expression can't be read, holds something else than arithmetic, divides by
            zero, or grows past what is computed here.
    """
    if len(expression) > _MAX_LENGTH:
        raise ToolError(
            f"expression must have at most {_MAX_LENGTH} characters, not {len(expression)}"
        )
    try:
        tree = ast.parse(expression.strip().replace("^", "**"), mode="eval")
        value = _value(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ToolError(f"can't read {expression!r} as arithmetic; write 2 * (3 + 4)") from None
    except ZeroDivisionError:
        raise ToolError(f"{expression!r} divides by zero") from None
    except OverflowError:
        raise ToolError(f"{expression!r} is too large to compute") from None
    if isinstance(value, float):
        value = float(f"{value:.12g}")
        value = int(value) if value.is_integer() and abs(value) < 2**53 else value
    return {"expression": expression, "value": value}


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as value):
            return _bounded(value)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _computed(op, _value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            given = _value(argument)
            if name == "sqrt" and given < 0:
                raise ToolError(f"can't take the square root of {given}")
            return _FUNCTIONS[name](given)
        case _:
            pass
    raise ToolError(
        f"can't compute {ast.unparse(node)!r}; write numbers, + - * / // % **, parentheses, "
        f"{', '.join(_FUNCTIONS)}, {', '.join(_CONSTANTS)}"
    )


def _computed(op: ast.operator, left: float, right: float) -> float:
    if isinstance(op, ast.Pow):
        if left < 0 and not float(right).is_integer():
            raise ToolError(f"can't raise {left} to the power of {right}: the result is complex")
        # Checked beforehand: Python would compute 9**9**9 for as long as it takes.
        whole = isinstance(left, int) and isinstance(right, int)
        if whole and abs(left) > 1 and int(left).bit_length() * abs(right) > _MAX_BITS:
            raise OverflowError
    return _bounded(_BINARY[type(op)](left, right))


def _bounded(value: float) -> float:
    too_large = (
        value.bit_length() > _MAX_BITS if isinstance(value, int) else not math.isfinite(value)
    )
    if too_large:
        raise OverflowError
    return value

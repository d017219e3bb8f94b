"""Who plays in the demo."""

import pytest

from greenroom.actors.demo.cast import FRONT_DESK, SPECIALISTS, Role
from greenroom.actors.tools import Tool


@pytest.mark.parametrize("role", [FRONT_DESK, *SPECIALISTS], ids=lambda role: role.name)
def test_every_function_makes_a_tool_that_a_model_can_read(role: Role) -> None:
    """Each function has a description, and a type and a description for every parameter."""
    for function in role.tools:
        spec = Tool.of(function).spec
        parameters = spec.parameters.get("properties", {})

        assert spec.description
        assert all({"type", "anyOf"} & part.keys() for part in parameters.values())
        assert all("description" in part for part in parameters.values())


def test_specialists_can_be_told_apart() -> None:
    """Names are distinct and fit a tool's name; each description names what it knows."""
    names = [role.name for role in SPECIALISTS]

    assert len(set(names)) == len(names)
    assert all(f"transfer_to_{name}".isidentifier() for name in names)
    assert "Jupiter" in SPECIALISTS[0].description
    assert "first ascent year" in SPECIALISTS[1].description

"""What is read from a docstring, for the model."""

import pytest

from greenroom.actors.tools.docstring import read_docstring

TABLE = [
    pytest.param(None, "", {}, id="none"),
    pytest.param("Say it.", "Say it.", {}, id="one line"),
    pytest.param(
        """
        Say it on
        two lines.

        And again:

        - once
        - twice
        """,
        "Say it on two lines.\n\nAnd again:\n\n- once\n- twice",
        {},
        id="paragraphs and lists are kept",
    ),
    pytest.param(
        """
        Look.

        Args:
            query: Words to look
                for: all of them.
            limit (int, optional): Most rows.
            *exact*: No others.
            bare:

        Returns:
            rows: What was found.
        """,
        "Look.",
        {
            "query": "Words to look for: all of them.",
            "limit": "Most rows.",
            "exact": "No others.",
            "bare": "",
        },
        id="arguments",
    ),
    pytest.param(
        """
        Look.

        Raises:
            ValueError: there is none.

        Parameters:
            query: Words.
        """,
        "Look.",
        {"query": "Words."},
        id="another section first",
    ),
    pytest.param("Args: none to speak of.", "Args: none to speak of.", {}, id="no section"),
    pytest.param(
        "Look.\n\nArgs:\nquery: Words.\nlimit: Rows.",
        "Look.",
        {"query": "Words.", "limit": "Rows."},
        id="not indented",
    ),
]


@pytest.mark.parametrize(("docstring", "description", "parameters"), TABLE)
def test_description_and_parameters_are_read(
    docstring: str | None, description: str, parameters: dict[str, str]
) -> None:
    """The text before the first section is the description; ``Args:`` describes parameters."""
    assert read_docstring(docstring) == (description, parameters)

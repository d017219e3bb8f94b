"""
The demo's facts: planets, mountains and chemical elements, with their sources named.

The facts are text in ``facts.sql``. It is loaded once into an in-memory SQLite database; each call
works on a private copy of that image, so that calls in several threads share nothing and none can
change what another reads.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from greenroom.actors.tools import ToolError

__all__ = [
    "Continent",
    "Element",
    "ElementFact",
    "ElementMeasure",
    "Mountain",
    "MountainFact",
    "MountainMeasure",
    "Order",
    "Planet",
    "PlanetFact",
    "element_fact",
    "list_tables",
    "mountain_fact",
    "planet_fact",
    "rank_elements",
    "rank_mountains",
    "rank_planets",
]

# The names and facts that a model may choose from; a test compares them with facts.sql.
Planet = Literal["Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"]
PlanetFact = Literal[
    "mass",
    "diameter",
    "density",
    "gravity",
    "escape_velocity",
    "day_length",
    "distance_from_sun",
    "orbital_period",
    "orbital_velocity",
    "mean_temperature",
]
Mountain = Literal[
    "Everest", "K2", "Kangchenjunga", "Lhotse", "Makalu", "Cho Oyu", "Dhaulagiri", "Manaslu",
    "Nanga Parbat", "Annapurna", "Gasherbrum I", "Broad Peak", "Gasherbrum II", "Shishapangma",
    "Aconcagua", "Denali", "Kilimanjaro", "Elbrus", "Vinson", "Puncak Jaya", "Mont Blanc",
    "Matterhorn",
]  # fmt: skip
MountainFact = Literal["height", "first_ascent_year", "continent"]
MountainMeasure = Literal["height", "first_ascent_year"]
Continent = Literal[
    "Africa", "Antarctica", "Asia", "Europe", "North America", "Oceania", "South America"
]  # fmt: skip
Element = Literal[
    "hydrogen", "helium", "lithium", "beryllium", "boron", "carbon", "nitrogen", "oxygen",
    "fluorine", "neon", "sodium", "magnesium", "aluminium", "silicon", "phosphorus", "sulfur",
    "chlorine", "argon", "potassium", "calcium", "titanium", "chromium", "iron", "nickel",
    "copper", "zinc", "bromine", "silver", "tin", "iodine", "tungsten", "platinum", "gold",
    "mercury", "lead", "uranium",
]  # fmt: skip
ElementFact = Literal["atomic_number", "atomic_weight", "symbol"]
ElementMeasure = Literal["atomic_number", "atomic_weight"]
Order = Literal["highest", "lowest"]

_MAX_ROWS = 50  # rows that one ranking returns at most: more than any table has


@cache
def _image() -> bytes:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(
            files("greenroom.actors.demo").joinpath("facts.sql").read_text("utf-8")
        )
        return database.serialize()


def _rows(sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(_image())
        return database.execute(sql, arguments).fetchall()


def _checked(what: str, value: str, allowed: Sequence[str]) -> str:
    """Return *value*, which must be one of *allowed*: it becomes part of a statement."""
    if value not in allowed:
        raise ToolError(f"no {what} {value!r}; it must be one of: {', '.join(allowed)}")
    return value


def _fact(table: str, name: str, fact: str) -> dict[str, Any]:
    ((value, unit, source),) = _rows(
        f"SELECT {fact}, unit, title FROM {table}, facts, sources"
        " WHERE name = ? AND fact = ? AND facts.table_name = ? AND sources.table_name = ?",
        *(name, fact, table, table),
    )
    return {"name": name, "fact": fact, "value": value, "unit": unit, "source": source}


def _rank(
    table: str, fact: str, order: str, limit: int, continent: str | None = None
) -> dict[str, Any]:
    direction = {"highest": "DESC", "lowest": "ASC"}[_checked("order", order, get_args(Order))]
    if not 1 <= limit <= _MAX_ROWS:
        raise ToolError(f"limit must be rows between 1 and {_MAX_ROWS}, not {limit}")
    ((unit, source),) = _rows(
        "SELECT unit, title FROM facts JOIN sources USING (table_name)"
        " WHERE table_name = ? AND fact = ?",
        *(table, fact),
    )
    where, place = ("", "") if continent is None else ("WHERE continent = ?", f" in {continent}")
    ranked = _rows(
        f"SELECT name, {fact} FROM {table} {where} ORDER BY {fact} {direction}, name",
        *([] if continent is None else [continent]),
    )
    return {
        "fact": fact,
        "order": order,
        "unit": unit,
        "rows": [{"name": name, "value": value} for name, value in ranked[:limit]],
        "out_of": f"{len(ranked)} {table if len(ranked) > 1 else table.removesuffix('s')}{place}",
        "source": source,
    }


def planet_fact(planet: Planet, fact: PlanetFact) -> dict[str, Any]:
    """
    Look up one fact about one planet of the solar system.

    Args:
        planet: The planet's English name.
        fact: What to look up.

    Returns:
        The value with its unit and its source.

    Raises:
        ToolError: There is no such planet or no such fact.
    """
    _checked("planet", planet, get_args(Planet))
    return _fact("planets", planet, _checked("fact", fact, get_args(PlanetFact)))


def rank_planets(fact: PlanetFact, order: Order = "highest", limit: int = 3) -> dict[str, Any]:
    """
    Rank the planets of the solar system by one fact.

    Args:
        fact: What to rank by.
        order: Whether the highest or the lowest value comes first.
        limit: How many planets to return.

    Returns:
        The first planets of the ranking with their values, unit and source.

    Raises:
        ToolError: There is no such fact, or *limit* is out of range.
    """
    return _rank("planets", _checked("fact", fact, get_args(PlanetFact)), order, limit)


def mountain_fact(mountain: Mountain, fact: MountainFact) -> dict[str, Any]:
    """
    Look up one fact about one mountain.

    Args:
        mountain: The mountain's name, without "Mount".
        fact: What to look up.

    Returns:
        The value with its unit and its source.

    Raises:
        ToolError: There is no such mountain or no such fact.
    """
    _checked("mountain", mountain, get_args(Mountain))
    return _fact("mountains", mountain, _checked("fact", fact, get_args(MountainFact)))


def rank_mountains(
    fact: MountainMeasure,
    order: Order = "highest",
    limit: int = 3,
    continent: Continent | None = None,
) -> dict[str, Any]:
    """
    Rank the mountains of the world by height or by the year of their first ascent.

    Args:
        fact: What to rank by.
        order: Whether the highest or the lowest value comes first.
        limit: How many mountains to return.
        continent: Which continent they stand on; any if not given.

    Returns:
        The first mountains of the ranking with their values, unit and source.

    Raises:
        ToolError: There is no such fact to rank by or no such continent, or *limit* is out of
            range.
    """
    if continent is not None:
        _checked("continent", continent, get_args(Continent))
    _checked("fact", fact, get_args(MountainMeasure))
    return _rank("mountains", fact, order, limit, continent)


def element_fact(element: Element, fact: ElementFact) -> dict[str, Any]:
    """
    Look up one fact about one chemical element.

    Args:
        element: The element's English name.
        fact: What to look up.

    Returns:
        The value with its unit and its source.

    Raises:
        ToolError: There is no such element or no such fact.
    """
    _checked("element", element, get_args(Element))
    return _fact("elements", element, _checked("fact", fact, get_args(ElementFact)))


def rank_elements(fact: ElementMeasure, order: Order = "highest", limit: int = 3) -> dict[str, Any]:
    """
    Rank the chemical elements by atomic number or atomic weight.

    Args:
        fact: What to rank by.
        order: Whether the highest or the lowest value comes first.
        limit: How many elements to return.

    Returns:
        The first elements of the ranking with their values and source.

    Raises:
        ToolError: There is no such fact to rank by, or *limit* is out of range.
    """
    return _rank("elements", _checked("fact", fact, get_args(ElementMeasure)), order, limit)


def list_tables() -> list[dict[str, Any]]:
    """
    List the tables of facts: what each is about, its facts, and the source of its data.

    Returns:
        One entry a table, with the number of its rows and the title and address of its source.
    """
    return [
        {
            "table": table,
            "rows": _rows(f"SELECT count(*) FROM {table}")[0][0],
            "facts": [
                row[0]
                for row in _rows(
                    "SELECT fact FROM facts WHERE table_name = ? ORDER BY rowid", table
                )
            ],
            "source": title,
            "url": url,
            "note": note,
        }
        for table, title, url, note in _rows("SELECT * FROM sources")
    ]

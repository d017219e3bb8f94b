"""The demo's facts: what ships is consistent, and what is looked up is what ships."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.resources import files
from typing import Any, get_args

import pytest
import trio

from greenroom.actors.demo import facts
from greenroom.actors.tools import ToolError


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """Open a database of its own, made from the text that ships."""
    with closing(sqlite3.connect(":memory:")) as connection:
        text = files("greenroom.actors.demo").joinpath("facts.sql").read_text("utf-8")
        connection.executescript(text)
        yield connection


@pytest.mark.parametrize(
    ("table", "names", "columns"),
    [
        ("planets", facts.Planet, facts.PlanetFact),
        ("mountains", facts.Mountain, facts.MountainFact),
        ("elements", facts.Element, facts.ElementFact),
    ],
)
def test_names_and_facts_offered_are_those_that_ship(
    database: sqlite3.Connection, table: str, names: Any, columns: Any
) -> None:
    """What a schema offers, the table has, and the other way round; every fact has a unit row."""
    cursor = database.execute(f"SELECT * FROM {table}")
    shipped = [column[0] for column in cursor.description]
    rows = cursor.fetchall()
    described = database.execute("SELECT fact FROM facts WHERE table_name = ?", (table,))

    assert [row[0] for row in rows] == list(get_args(names))
    assert set(shipped) == {"name", *get_args(columns)}
    assert {row[0] for row in described} == set(get_args(columns))
    assert all(value is not None for row in rows for value in row)


def test_facts_hang_together() -> None:
    """Densities, gravities and orbits of the planets follow from one another within a few per cent."""
    for planet in get_args(facts.Planet):
        of = {fact: facts.planet_fact(planet, fact)["value"] for fact in get_args(facts.PlanetFact)}
        radius = of["diameter"] * 500  # metres; at the equator, so flat planets come out light
        density = of["mass"] * 1e24 / (4 / 3 * 3.14159 * radius**3)
        years = (of["distance_from_sun"] / 149.6) ** 1.5  # Kepler's third law
        speed = 2 * 3.14159 * of["distance_from_sun"] * 1e6 / (of["orbital_period"] * 86_400)
        escape = (2 * 6.674e-11 * of["mass"] * 1e24 / radius) ** 0.5 / 1000

        assert density == pytest.approx(of["density"], rel=0.12)
        assert years * 365.2 == pytest.approx(of["orbital_period"], rel=0.02)
        assert speed == pytest.approx(of["orbital_velocity"], rel=0.02)
        assert escape == pytest.approx(of["escape_velocity"], rel=0.05)


def test_elements_are_in_the_order_of_their_numbers_and_weights() -> None:
    """Symbols are distinct, and weights rise with the numbers but for argon before potassium."""
    numbers = [facts.element_fact(e, "atomic_number")["value"] for e in get_args(facts.Element)]
    symbols = {facts.element_fact(e, "symbol")["value"] for e in get_args(facts.Element)}
    ranked = [row["name"] for row in facts.rank_elements("atomic_weight", "lowest", 50)["rows"]]
    by_number = list(get_args(facts.Element))
    swapped = by_number.index("argon")
    by_number[swapped], by_number[swapped + 1] = "potassium", "argon"

    assert numbers == sorted(set(numbers))
    assert len(symbols) == len(numbers)
    assert ranked == by_number


@pytest.mark.parametrize(
    ("found", "value", "unit"),
    [
        (facts.planet_fact("Jupiter", "mass"), 1898, "10^24 kg"),
        (facts.planet_fact("Neptune", "mean_temperature"), -200, "°C"),
        (facts.mountain_fact("Everest", "height"), 8849, "m"),
        (facts.mountain_fact("K2", "continent"), "Asia", ""),
        (facts.element_fact("gold", "atomic_weight"), 196.97, ""),
        (facts.element_fact("iron", "symbol"), "Fe", ""),
    ],
)
def test_fact_comes_with_unit_and_source(found: dict[str, Any], value: object, unit: str) -> None:
    """A look-up returns the value, its unit, and who says so."""
    assert found["value"] == value
    assert found["unit"] == unit
    assert any(found["source"] == table["source"] for table in facts.list_tables())


def test_ranking_goes_both_ways_and_says_out_of_how_many() -> None:
    """Rankings start at either end and tell the size of the table."""
    highest = facts.rank_mountains("height", "highest", 2)
    lowest = facts.rank_planets("distance_from_sun", "lowest", 1)

    assert highest["rows"] == [{"name": "Everest", "value": 8849}, {"name": "K2", "value": 8611}]
    assert highest["out_of"] == "22 mountains"
    assert lowest["rows"] == [{"name": "Mercury", "value": 57.9}]
    assert json.loads(json.dumps(highest)) == highest


def test_ranking_can_be_of_one_continent() -> None:
    """The seven summits come out of the table, each as the highest of its continent."""
    summits = {
        continent: facts.rank_mountains("height", "highest", 1, continent)["rows"][0]["name"]
        for continent in get_args(facts.Continent)
    }

    assert summits == {
        "Africa": "Kilimanjaro",
        "Antarctica": "Vinson",
        "Asia": "Everest",
        "Europe": "Elbrus",
        "North America": "Denali",
        "Oceania": "Puncak Jaya",
        "South America": "Aconcagua",
    }
    assert facts.rank_mountains("height", continent="Africa")["out_of"] == "1 mountain in Africa"


MISUSES: list[tuple[Callable[..., Any], tuple[Any, ...], str]] = [
    (facts.planet_fact, ("Pluto", "mass"), "no planet 'Pluto'; it must be one of: Mercury"),
    (facts.planet_fact, ("Mars", "name; DROP"), "no fact 'name; DROP'"),
    (facts.mountain_fact, ("Mars", "height"), "no mountain 'Mars'"),
    (facts.element_fact, ("gold", "height"), "no fact 'height'; it must be one of"),
    (facts.rank_mountains, ("continent",), "no fact 'continent'"),
    (facts.rank_mountains, ("height", "highest", 1, "Atlantis"), "no continent 'Atlantis'"),
    (facts.rank_planets, ("mass", "up"), "no order 'up'; it must be one of: highest"),
    (facts.rank_elements, ("atomic_weight", "highest", 0), "between 1 and 50, not 0"),
]


@pytest.mark.parametrize(("look_up", "arguments", "message"), MISUSES)
def test_misuse_is_told_to_the_model(
    look_up: Callable[..., Any], arguments: tuple[Any, ...], message: str
) -> None:
    """What a model gets wrong is an error with the choices in its text."""
    with pytest.raises(ToolError, match=message):
        look_up(*arguments)


async def test_look_ups_run_in_many_threads_at_once() -> None:
    """Tools run in threads: no connection is shared between them (I4)."""
    found: list[dict[str, Any]] = []

    async def look_up() -> None:
        found.append(await trio.to_thread.run_sync(facts.planet_fact, "Mars", "mass"))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(look_up)

    assert found == [facts.planet_fact("Mars", "mass")] * 20

"""`Settings`: three states a field, ranges, merging, and what is sent."""

import math
from typing import Any

import pytest

from greenroom.actors.llm import UNSET, Settings


def test_nothing_is_sent_that_was_not_set() -> None:
    """Default settings make no parameters at all."""
    assert Settings().to_params() == {}


def test_unset_none_and_a_value_are_three_things() -> None:
    """Unset is left out, None is sent as null, a value as it is."""
    settings = Settings(temperature=None, top_p=0.0)

    assert settings.to_params() == {"temperature": None, "top_p": 0.0}
    assert settings.seed is UNSET
    assert not UNSET
    assert repr(UNSET) == "UNSET"


def test_every_setting_is_sent_under_its_own_name() -> None:
    """The fields are the API's, except for the system instruction, which is a message."""
    settings = Settings(
        model="m",
        system_instruction="be brief",
        temperature=2,
        top_p=1,
        top_k=40,
        frequency_penalty=-2.0,
        presence_penalty=2,
        seed=0,
        max_completion_tokens=1,
        stop=["a", "b"],
        service_tier="flex",
        reasoning_effort="low",
        verbosity="high",
        parallel_tool_calls=False,
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format={"type": "json_object"},
        modalities=["text", "audio"],
        audio={"voice": "alloy"},
        logprobs=True,
        top_logprobs=0,
        metadata={"a": "b"},
        user="u",
        prompt_cache_key="k",
        store=False,
        extra={"x": [1, {"y": 2}]},
    )

    assert settings.to_params() == {
        "model": "m",
        "temperature": 2,
        "top_p": 1,
        "top_k": 40,
        "frequency_penalty": -2.0,
        "presence_penalty": 2,
        "seed": 0,
        "max_completion_tokens": 1,
        "stop": ["a", "b"],
        "service_tier": "flex",
        "reasoning_effort": "low",
        "verbosity": "high",
        "parallel_tool_calls": False,
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_object"},
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy"},
        "logprobs": True,
        "top_logprobs": 0,
        "metadata": {"a": "b"},
        "user": "u",
        "prompt_cache_key": "k",
        "store": False,
        "x": [1, {"y": 2}],
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperature": 2.1}, "temperature must be a number from 0 to 2, not 2.1"),
        ({"temperature": "1"}, "temperature must be a number from 0 to 2, not '1'"),
        ({"temperature": True}, "temperature must be a number from 0 to 2, not True"),
        ({"temperature": math.nan}, "temperature must be a number from 0 to 2, not nan"),
        ({"top_p": -0.1}, "top_p must be a number from 0 to 1, not -0.1"),
        ({"frequency_penalty": 3}, "frequency_penalty must be a number from -2 to 2, not 3"),
        ({"presence_penalty": -3}, "presence_penalty must be a number from -2 to 2, not -3"),
        ({"max_tokens": 0}, "max_tokens must be an int >= 1, not 0"),
        ({"max_tokens": 1.0}, "max_tokens must be an int >= 1, not 1.0"),
        ({"max_completion_tokens": True}, "max_completion_tokens must be an int >= 1, not True"),
        ({"top_k": -2}, "top_k must be an int >= -1, not -2"),
        ({"top_logprobs": 21}, "top_logprobs must be an int from 0 to 20, not 21"),
        ({"stop": ""}, "stop must be a text or several, not ''"),
        ({"stop": ()}, r"stop must be a text or several, not \(\)"),
        ({"user": ""}, "user must be a text that is not empty, not ''"),
        ({"store": 1}, "store must be True or False, not 1"),
        ({"modalities": "text"}, "modalities must be a tuple of texts"),
        ({"modalities": ()}, "modalities must be a tuple of texts"),
        ({"audio": "alloy"}, "audio must be a mapping, not 'alloy'"),
        ({"tool_choice": "look"}, "tool_choice must be 'none', 'auto', 'required' or a mapping"),
        ({"metadata": "a"}, "metadata must be a mapping, not 'a'"),
        ({"model": None}, "model must be the name of a model, not None"),
        ({"model": ""}, "model must be the name of a model, not ''"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens=5 or max_completion_tokens=6"),
        # R29: extra never wins over these.
        ({"extra": {"messages": []}}, "extra can't hold 'messages'"),
        ({"extra": {"stream": False}}, "extra can't hold 'stream'"),
        ({"extra": {"tools": []}}, "extra can't hold 'tools'"),
        ({"extra": {"n": 2}}, "extra can't ask for n=2"),
    ],
)
def test_what_is_out_of_range_is_refused_when_built(given: dict[str, Any], message: str) -> None:
    """The error names the field, what it takes and what it got (R29)."""
    with pytest.raises(ValueError, match=message):
        Settings(**given)


def test_extra_must_be_a_mapping() -> None:
    """A list of pairs is not taken for one."""
    with pytest.raises(TypeError, match="extra must be a mapping, not"):
        Settings(extra=[("a", 1)])


def test_a_null_limit_beside_a_limit_is_no_conflict() -> None:
    """None clears a server's default and is not a second limit."""
    assert Settings(max_tokens=5, max_completion_tokens=None).max_tokens == 5


def test_extra_wins_over_settings() -> None:
    """What is in `extra` is what is sent (R29, case 18)."""
    settings = Settings(temperature=0.7, max_tokens=5, extra={"temperature": 0})

    assert settings.to_params() == {"temperature": 0, "max_tokens": 5}


def test_a_limit_in_extra_replaces_the_other_name_of_it() -> None:
    """The API refuses both names of the limit together."""
    settings = Settings(max_tokens=5, extra={"max_completion_tokens": 9})

    assert settings.to_params() == {"max_completion_tokens": 9}


def test_repr_names_what_is_set() -> None:
    """Two dozen unset fields say nothing."""
    settings = Settings(temperature=0, seed=None, store=False, extra={"a": 1})

    assert repr(Settings()) == "Settings()"
    assert repr(settings) == "Settings(temperature=0, seed=None, store=False, extra={'a': 1})"


def test_settings_keep_a_private_copy_of_what_they_are_given() -> None:
    """Neither the caller's mapping nor the parameters made from settings can change them."""
    extra = {"a": {"b": [1]}}
    settings = Settings(extra=extra)
    extra["a"]["b"].append(2)
    settings.to_params()["a"]["b"].append(3)

    assert settings == Settings(extra={"a": {"b": [1]}})


def test_merge_gives_new_settings_and_the_old_values_of_what_changed() -> None:
    """Keys of `extra` merge one by one and are reported beside the fields (case 15)."""
    store = Settings(temperature=0.5, extra={"a": 1})
    merged, changed = store.merge(Settings(temperature=0.7, extra={"b": 2}))

    assert merged == Settings(temperature=0.7, extra={"a": 1, "b": 2})
    assert changed == {"temperature": 0.5, "b": UNSET}
    assert store == Settings(temperature=0.5, extra={"a": 1})


@pytest.mark.parametrize(
    ("store", "delta", "merged", "changed"),
    [
        # Case 16: None sets None, an absent field stays, an equal value is no change.
        ({"seed": 1}, {"seed": None}, {"seed": None}, {"seed": 1}),
        ({"seed": 1, "user": "u"}, {}, {"seed": 1, "user": "u"}, {}),
        ({"seed": 1}, {"seed": 1}, {"seed": 1}, {}),
        ({"extra": {"a": 1}}, {"extra": {"a": 1}}, {"extra": {"a": 1}}, {}),
        ({"extra": {"a": 1}}, {"extra": {"a": None}}, {"extra": {"a": None}}, {"a": 1}),
        # A limit under one name takes the place of one under the other (a14).
        (
            {"max_tokens": 5},
            {"max_completion_tokens": 9},
            {"max_completion_tokens": 9},
            {"max_tokens": 5, "max_completion_tokens": UNSET},
        ),
        (
            {"max_completion_tokens": 9},
            {"max_tokens": 5},
            {"max_tokens": 5},
            {"max_tokens": UNSET, "max_completion_tokens": 9},
        ),
        ({"max_tokens": 5}, {"seed": 1}, {"max_tokens": 5, "seed": 1}, {"seed": UNSET}),
    ],
)
def test_merge_by_field(
    store: dict[str, Any], delta: dict[str, Any], merged: dict[str, Any], changed: dict[str, Any]
) -> None:
    """Each row is one rule of merging."""
    assert Settings(**store).merge(Settings(**delta)) == (Settings(**merged), changed)

"""The profiles that ship: each reads its provider's stream, and asks as its provider wants it."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio.testing

from greenroom.actors.llm import (
    PROFILES,
    Assistant,
    Category,
    Context,
    Developer,
    Profile,
    ProviderError,
    RawEvent,
    ReasoningDelta,
    Settings,
    System,
    TextDelta,
    ToolCall,
    ToolOutput,
    ToolSpec,
    User,
)
from greenroom.actors.llm.profiles import ROWS
from greenroom.actors.llm.render import render
from tests.actors.llm.served import StreamServer, ask, data
from tests.actors.llm.streams import DONE, SAMPLES, Sample, chunk


def sample(profile: str) -> Sample:
    """Return the sample of *profile*."""
    return next(each for each in SAMPLES if each.profile == profile)


@pytest.mark.parametrize("profile", [each.profile for each in SAMPLES])
async def test_a_documented_stream_says_what_it_says(
    profile: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Whole and in single bytes, from the wire to events (case 12 and the quirks of each)."""
    stream = sample(profile)
    for pieces in ([stream.sent], [bytes((byte,)) for byte in stream.sent]):
        answer = await ask(StreamServer(pieces), profile=profile, api_key="k")

        assert answer.failure is None
        assert answer.events == stream.events


def test_every_profile_says_where_it_comes_from_and_the_tested_ones_have_samples() -> None:
    """What is not held against a sample is labelled so."""
    tested = {name for name, profile in PROFILES.items() if profile.is_tested}

    assert tested == {each.profile for each in SAMPLES} | {"understudy"}
    assert all(profile.source for profile in PROFILES.values())
    assert len(PROFILES) == len(ROWS)
    assert len(PROFILES) >= 24


def test_the_page_names_every_profile_with_its_key_and_whether_it_is_tested() -> None:
    """docs/providers.md says the same as the rows."""
    page = (Path(__file__).parents[3] / "docs/providers.md").read_text("utf-8")
    rows = [
        line for line in page.split("## Profiles")[1].split("###")[0].splitlines() if "|" in line
    ]
    for name, profile in PROFILES.items():
        (row,) = (line for line in rows if f"`{name}`" in line)

        assert (f"`{profile.key_variable}`" if profile.key_variable else "| none |") in row
        assert ("from documentation, untested" in row) is not profile.is_tested


def test_every_profile_of_the_net_is_found_by_its_address_and_has_a_key_of_its_own() -> None:
    """No two providers share a variable, so that no key goes to another (a8)."""
    variables = [profile.key_variable for profile in PROFILES.values() if profile.key_variable]

    assert len(set(variables)) == len(variables)
    for profile in PROFILES.values():
        if profile.base_url:
            assert Profile.for_base_url(profile.base_url).name == profile.name
        for host in profile.hosts:
            assert Profile.for_base_url(f"https://{host}/v1").name == profile.name
            assert Profile.for_base_url(f"https://not{host}/v1").name != profile.name


async def test_openrouter_breaks_off_with_an_error_beside_the_choice(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Source: https://openrouter.ai/docs/api-reference/streaming, errors in mid-stream."""
    error = {"code": 502, "message": "Provider disconnected"}
    broken = chunk("z", {"content": ""}, finish_reason="error", error=error)
    pieces = [data(chunk("z", {"content": "Ye"})), data(broken)]
    answer = await ask(StreamServer(pieces), profile="openrouter", api_key="k")

    assert answer.events[-1] == TextDelta("Ye")
    assert answer.failure is not None
    assert answer.failure.category is Category.SERVER
    assert "openrouter broke the response off: Provider disconnected" in str(answer.failure)


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("/openai/v1", {}, "/openai/v1/chat/completions"),
        (
            "/openai/deployments/mine",
            {"api-version": "2024-10-21"},
            "/openai/deployments/mine/chat/completions?api-version=2024-10-21",
        ),
    ],
)
async def test_azure_is_asked_by_its_own_header_with_or_without_a_version(
    path: str,
    query: dict[str, str],
    target: str,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its v1 API and a dated one need no other client than ours."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "of-azure")
    monkeypatch.setenv("OPENAI_API_KEY", "of-openai")
    url = f"http://mine.openai.azure.com{path}"
    # The key is for the provider's own server alone; this one plays it without TLS.
    azure = attrs.evolve(Profile.named("azure"), query=query, base_url=url)
    server = StreamServer([sample("azure").sent])
    answer = await ask(server, profile=azure, base_url=None, settings=Settings(model="mine"))

    assert answer.failure is None
    assert answer.asked.target == target
    assert answer.asked.headers["api-key"] == "of-azure"
    assert "authorization" not in answer.asked.headers
    assert answer.asked.body["model"] == "mine"


def test_azure_is_told_by_its_hosts() -> None:
    """A resource has a host of its own below one of them."""
    mine = Profile.for_base_url("https://mine.openai.azure.com/openai/v1")

    assert (mine.name, mine.key_variable) == ("azure", "AZURE_OPENAI_API_KEY")
    assert Profile.named("azure").at("https://gateway.example/v1").key_variable == ""


async def test_raw_events_stand_before_what_was_read_from_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Who asks for them finds every field that no frame has, in an error too."""
    error = {"error": {"message": "gone", "metadata": {"odd": 1}}}
    pieces = [data(chunk("m", {"content": "hi"}, provider="Z")), data(error), DONE]
    answer = await ask(StreamServer(pieces), raw=True)
    raws = [event for event in answer.events if isinstance(event, RawEvent)]

    assert [raw.fields().get("provider") for raw in raws] == ["Z", None]
    assert raws[-1].fields() == error
    assert answer.events[0] is raws[0]
    assert answer.events[2] == TextDelta("hi")
    assert answer.failure is not None


async def test_the_end_mark_is_no_raw_event_and_none_comes_unasked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The mark holds nothing; and who does not ask pays nothing."""
    stream = StreamServer([sample("openai").sent])
    with_raw = await ask(stream, raw=True)
    without = await ask(stream)

    assert sum(isinstance(event, RawEvent) for event in with_raw.events) == 4
    assert without.events == sample("openai").events


async def test_tags_that_were_never_closed_come_out_at_the_end_of_the_body(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What was held is told even where the provider never finishes, and before any failure."""
    profile = Profile(name="x", think_tags=("<think>", "</think>"))
    pieces = [data(chunk("m", {"content": "<think>Hm</thin"}))]
    for is_whole in (True, False):
        answer = await ask(StreamServer(pieces, is_whole=is_whole), profile=profile)

        assert answer.events[1:] == [ReasoningDelta("Hm"), ReasoningDelta("</thin")]
        assert (answer.failure is None) is is_whole


CALLS = Assistant("", (ToolCall("call_of_another", "f"), ToolCall("D681PevKs", "g")))


def rendered(profile: str, *messages: Any, model: str = "m", **settings: Any) -> dict[str, Any]:
    """Return the body with *messages* in the dialect of *profile*."""
    return render(Context.of(*messages), Settings(model=model, **settings), PROFILES[profile])


def test_mistral_gets_its_own_names_ids_and_prefix() -> None:
    """What it would refuse with status 422 is not sent; a seed of 0 is."""
    body = rendered(
        "mistral",
        User("hi", name="Ada"),
        CALLS,
        ToolOutput("call_of_another", "1"),
        ToolOutput("D681PevKs", "2"),
        Developer("be brief"),
        Assistant("So"),
        seed=0,
        max_completion_tokens=5,
        user="u",
        top_k=3,
    )
    ids = [call["id"] for call in body["messages"][1]["tool_calls"]]

    assert body["messages"][0] == {"role": "user", "content": "Ada: hi"}
    assert ids == [message["tool_call_id"] for message in body["messages"][2:4]]
    assert ids[1] == "D681PevKs"
    assert len(ids[0]) == 9
    assert body["messages"][4]["role"] == "system"
    assert body["messages"][5] == {"role": "assistant", "content": "So", "prefix": True}
    assert (body["random_seed"], body["max_tokens"]) == (0, 5)
    assert body.keys() == {"model", "messages", "random_seed", "max_tokens", "stream"}


def test_perplexity_takes_turns_and_no_tools() -> None:
    """Roles are joined, later instructions are the user's, and the user has the last word."""
    body = rendered(
        "perplexity",
        System("a"),
        Developer("b"),
        User("c"),
        System("d"),
        Assistant("e"),
        User("f"),
        Assistant("g"),
        seed=1,
    )

    assert [(m["role"], m["content"]) for m in body["messages"]] == [
        ("system", "a\n\nb"),
        ("user", "c\n\nd"),
        ("assistant", "e"),
        ("user", "f"),
    ]
    assert "seed" not in body
    tools = Context.of(User("hi"), tools=[ToolSpec("look")])
    with pytest.raises(ProviderError, match=r"perplexity takes no tools, and .* has look; write"):
        render(tools, Settings(model="m"), PROFILES["perplexity"])


def test_some_models_of_openrouter_take_system_messages_first_only() -> None:
    """Later ones are sent as the user's to Gemini, and to no other."""
    messages = (System("a"), User("b"), System("c"))
    roles = {
        model: [m["role"] for m in rendered("openrouter", *messages, model=model)["messages"]]
        for model in ("google/gemini-3-flash", "z-ai/glm-4.6")
    }

    assert roles["google/gemini-3-flash"] == ["system", "user", "user"]
    assert roles["z-ai/glm-4.6"] == ["system", "user", "system"]


def test_a_setting_may_stand_in_an_object_of_the_request() -> None:
    """A renamed setting with a dot goes into an object, and what the caller wrote stays."""
    profile = Profile(name="x", renamed={"reasoning_effort": "reasoning.effort"})

    assert profile.rewrite({"reasoning_effort": "low"}) == {"reasoning": {"effort": "low"}}
    written = {"reasoning": {"effort": "high"}, "reasoning_effort": "low"}
    assert profile.rewrite(written, keep={"reasoning"}) == {"reasoning": {"effort": "high"}}


def test_the_last_word_on_a_body_is_the_profiles() -> None:
    """What no field can say is said by a function."""

    def amend(body: dict[str, Any]) -> dict[str, Any]:
        return body | {"safe_mode": len(body["messages"]) > 1}

    profile = Profile(name="x", amend=amend)
    assert render(Context.of(User("a")), Settings(model="m"), profile)["safe_mode"] is False

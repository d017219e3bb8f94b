"""`Profile`: whose dialect an address speaks, and how requests are rewritten."""

import pytest

from greenroom.actors.llm import PROFILES, Profile


@pytest.mark.parametrize(
    ("base_url", "name", "variable"),
    [
        ("https://api.openai.com/v1", "openai", "OPENAI_API_KEY"),
        ("https://eu.api.openai.com/v1/", "openai", "OPENAI_API_KEY"),
        ("https://api.deepseek.com/beta", "deepseek", "DEEPSEEK_API_KEY"),
        ("https://openrouter.ai/api/v1", "openrouter", "OPENROUTER_API_KEY"),
        ("http://localhost:11434/v1", "ollama", ""),
        ("http://[::1]:11434/v1", "ollama", ""),
        # Strangers, however much they look like somebody known.
        ("http://api.openai.com/v1", "api.openai.com", ""),
        ("https://api.openai.com:8443/v1", "api.openai.com", ""),
        ("https://api.openai.com.example.org/v1", "api.openai.com.example.org", ""),
        ("https://fakeapi.openai.com/v1", "fakeapi.openai.com", ""),
        ("https://user:pw@example.org/api.openai.com", "example.org", ""),
        ("http://127.0.0.1:8000/v1", "localhost", ""),
    ],
)
def test_only_the_provider_itself_gets_its_profile_and_key(
    base_url: str, name: str, variable: str
) -> None:
    """Another scheme, port or host is another server, whose key is none of ours (a8)."""
    profile = Profile.for_base_url(base_url)

    assert (profile.name, profile.key_variable) == (name, variable)
    assert profile.base_url == base_url


@pytest.mark.parametrize(
    "base_url", ["", "localhost:8000", "/v1", "ftp://host/v1", "http://", "http://host:99999/v1"]
)
def test_what_is_no_address_is_refused(base_url: str) -> None:
    """The error shows what an address looks like."""
    with pytest.raises(ValueError, match=r"must look like 'http://127.0.0.1:8000/v1', not"):
        Profile.for_base_url(base_url)


def test_a_profile_at_another_address_loses_its_key_variable() -> None:
    """The dialect may be used anywhere, the key of the environment only at its own place."""
    openai = PROFILES["openai"]

    assert openai.at("https://gateway.example/v1").key_variable == ""
    assert openai.at("https://gateway.example/v1").needs_key
    assert openai.at("https://us.api.openai.com/v1").key_variable == "OPENAI_API_KEY"


def test_an_unknown_name_lists_the_known_ones() -> None:
    """`named` finds what ships, and says what there is otherwise."""
    assert Profile.named("ollama") is PROFILES["ollama"]
    with pytest.raises(ValueError, match=r"no profile is named 'olama'; there are .*ollama"):
        Profile.named("olama")


def test_rewrite_drops_and_renames_but_keeps_what_was_written_for_it() -> None:
    """Settings are translated; what stands in `extra` is the caller's own word (R29)."""
    profile = Profile(name="x", dropped=frozenset({"seed"}), renamed={"max_tokens": "limit"})
    params = {"seed": 1, "max_tokens": 2, "user": "u"}

    assert profile.rewrite(params) == {"limit": 2, "user": "u"}
    assert profile.rewrite(params, keep=params) == params
    assert profile.rewrite({"limit": 3, "max_tokens": 2}) == {"limit": 3}
    assert params == {"seed": 1, "max_tokens": 2, "user": "u"}

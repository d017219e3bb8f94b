"""The soak of `soak.py` in its short form."""

import pytest

from tests.actors.llm import soak


@pytest.mark.torture
def test_no_slot_is_lost_to_random_cancels() -> None:
    """Sixteen workers on eight connections leave nothing, wherever they are cancelled (I4, I13)."""
    told = soak.run(20)

    assert told.is_clean, (told, told.warned)
    assert told.cancelled > 100
    assert told.whole > 100

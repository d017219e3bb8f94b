"""What every test is run with: how deep the sweeps go, and Hypothesis profiles that fit."""

import gc
import os

import pytest
from hypothesis import settings

TORTURE = os.environ.get("GREENROOM_TORTURE") == "1"

# No deadlines: two shared cores make any of them flaky. The default profile tries the same
# examples each time, so that what was green stays green; torture looks for new ones.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("torture", deadline=None, max_examples=2_000)
settings.load_profile("torture" if TORTURE else "default")


def pytest_collection_finish() -> None:
    """
    Have the garbage collector leave alone what all tests share: the modules and the tests.

    The kit collects before each sweep and after each failure, and would walk all of it each time.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Collect what a test has just left, so that no run of the next one is blamed for it."""
    gc.collect(0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``torture``, unless ``make torture`` asks for it."""
    if TORTURE:
        return
    left_out = [item for item in items if item.get_closest_marker("torture")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("torture")]

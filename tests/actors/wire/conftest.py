"""Fixtures of the wire's tests."""

import pytest

from tests.actors.wire.peers import TlsPair, make_tls


@pytest.fixture(scope="session")
def tls() -> TlsPair:
    """Contexts of a server for ``model.test`` and ``127.0.0.1``, and of a client that trusts it."""
    return make_tls()

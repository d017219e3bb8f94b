"""
The transport against servers that were not written here, over TCP and TLS.

What is held: every response comes as the server meant it, a connection is used again exactly if
both sides can, and nothing is left of a request that was broken off (I4).
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import httpx2
import pytest
import trio
import trustme

from greenroom.actors.wire import BODY_EXTENSION, Body, SSESplitter, Transport
from tests.actors.wire.real_app import EVENTS, FIXED
from tests.actors.wire.real_servers import FEW, NGINX, RealServer, hypercorn, nginx

NO_NGINX = "nginx is not installed; on Debian: apt-get install nginx-light"
UPLOAD = bytes(range(256)) * 32_768  # 8 MB, more than any socket buffers


@attrs.frozen
class Site:
    """A server, spoken to in one of the two ways."""

    server: RealServer
    tls: bool
    authority: trustme.CA

    def url(self, path: str) -> str:
        return self.server.url(path, tls=self.tls)

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[tuple[httpx2.AsyncClient, Transport]]:
        """Open a client with a pool of one; in the end it holds nothing."""
        context = httpx2.create_ssl_context()
        self.authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
        transport = Transport(max_connections=1, ssl_context=context)
        with trio.fail_after(20):
            async with httpx2.AsyncClient(transport=transport, timeout=10) as client:
                yield client, transport
                assert transport.statistics().active == 0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RealServer]]:
    """Run the servers, by their names, for the tests of this module; nginx if it is there."""
    folder = tmp_path_factory.mktemp("real")
    certificate = authority().issue_cert("127.0.0.1")
    chain, key = folder / "chain.pem", folder / "key.pem"
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(str(chain), append=True)
    certificate.private_key_pem.write_to_path(str(key))
    with hypercorn(chain, key) as app:
        if NGINX is None:
            yield {"hypercorn": app}
            return
        with nginx(app, chain, key, Path(folder)) as before:
            yield {"hypercorn": app, "nginx": before}


_authorities: list[trustme.CA] = []


def authority() -> trustme.CA:
    """Return the one authority of this module, made when it is first needed."""
    if not _authorities:
        _authorities.append(trustme.CA())
    return _authorities[0]


@pytest.fixture(params=["hypercorn", "nginx"])
def server(request: pytest.FixtureRequest, servers: dict[str, RealServer]) -> RealServer:
    """Each server in turn."""
    if request.param not in servers:
        pytest.skip(NO_NGINX)
    return servers[request.param]


@pytest.fixture(params=["plain", "tls"])
def site(request: pytest.FixtureRequest, server: RealServer) -> Site:
    """Each server in each way."""
    return Site(server, request.param == "tls", authority())


@pytest.fixture
def behind_nginx(servers: dict[str, RealServer]) -> RealServer:
    """Only nginx."""
    if "nginx" not in servers:
        pytest.skip(NO_NGINX)
    return servers["nginx"]


async def test_a_connection_serves_one_request_after_the_other(site: Site) -> None:
    """Keep-alive: three responses of a known length need one connection."""
    async with site.client() as (client, transport):
        for _ in range(3):
            response = await client.get(site.url("/fixed"))
            assert response.content == FIXED
            assert "content-encoding" not in response.headers
        statistics = transport.statistics()

    assert (statistics.opened, statistics.reused) == (1, 2)


async def test_an_event_stream_comes_whole_and_leaves_its_connection(site: Site) -> None:
    """Chunked, in whatever pieces the server makes of it; read without an async generator."""
    payloads: list[bytes] = []
    splitter = SSESplitter()
    async with site.client() as (client, transport):
        for _ in range(2):
            async with client.stream("GET", site.url("/events")) as response:
                assert response.headers["transfer-encoding"] == "chunked"
                body: Body = response.extensions[BODY_EXTENSION]
                while data := await body.receive():
                    payloads += [payload for _, payload in splitter.feed(data)]
        statistics = transport.statistics()

    assert payloads == [event[6:-2] for event in EVENTS] * 2
    assert (statistics.opened, statistics.aborted) == (1, 0)


async def pieces() -> AsyncIterator[bytes]:
    """Return `UPLOAD` in pieces, so that it is sent chunked."""
    for at in range(0, len(UPLOAD), 100_000):
        yield UPLOAD[at : at + 100_000]
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("form", ["length", "chunked"])
async def test_an_upload_larger_than_any_buffer_arrives(site: Site, form: str) -> None:
    """Eight megabytes, with a length and in chunks; then the connection serves the next request."""
    async with site.client() as (client, transport):
        content = UPLOAD if form == "length" else pieces()
        response = await client.post(site.url("/digest"), content=content)
        assert response.text == hashlib.sha256(UPLOAD).hexdigest()
        assert (await client.get(site.url("/fixed"))).content == FIXED
        assert transport.statistics().opened == 1


async def test_an_early_response_is_read_and_its_connection_not_used_again(site: Site) -> None:
    """A server that refuses before it has read all is understood; what follows is not mixed up."""
    async with site.client() as (client, transport):
        response = await client.post(site.url("/refuse"), content=UPLOAD)
        assert response.status_code == 413
        assert transport.statistics().idle == 0
        assert (await client.get(site.url("/fixed"))).content == FIXED
        assert transport.statistics().opened == 2


async def test_responses_without_a_body_leave_their_connection(site: Site) -> None:
    """HEAD, which has the length of what it leaves out, and 204 end with their head."""
    async with site.client() as (client, transport):
        head = await client.head(site.url("/fixed"))
        assert (head.headers["content-length"], head.content) == (str(len(FIXED)), b"")
        assert (await client.get(site.url("/nothing"))).status_code == 204
        assert (await client.get(site.url("/fixed"))).content == FIXED
        assert transport.statistics().opened == 1


async def test_a_connection_that_the_server_ends_is_not_kept(site: Site) -> None:
    """``Connection: close`` is obeyed, and the next request has a connection of its own."""
    async with site.client() as (client, transport):
        for count in (1, 2):
            response = await client.get(site.url("/last"))
            assert response.content == FIXED
            assert response.headers["connection"] == "close"
            statistics = transport.statistics()
            assert (statistics.opened, statistics.idle) == (count, 0)


async def test_a_stream_that_is_cancelled_leaves_its_slot(site: Site) -> None:
    """A cancel in the middle closes the only connection, and the next request succeeds (I4)."""
    async with site.client() as (client, transport):
        with trio.move_on_after(0.1) as scope:
            async with client.stream("GET", site.url("/endless")) as response:
                body: Body = response.extensions[BODY_EXTENSION]
                while await body.receive():
                    pass
        assert scope.cancelled_caught
        assert transport.statistics().aborted == 1
        assert (await client.get(site.url("/fixed"))).content == FIXED


@pytest.mark.parametrize("tls", [False, True])
async def test_a_file_and_its_304(behind_nginx: RealServer, tls: bool) -> None:
    """What nginx serves by itself; a 304 has no body, though it may name a length."""
    site = Site(behind_nginx, tls, authority())
    async with site.client() as (client, transport):
        response = await client.get(site.url("/files/fixed.txt"))
        assert response.content == FIXED
        tag = response.headers["etag"]
        again = await client.get(site.url("/files/fixed.txt"), headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.get(site.url("/files/fixed.txt"))).content == FIXED
        assert transport.statistics().opened == 1


async def test_a_limit_on_requests_costs_a_connection_and_no_error(
    behind_nginx: RealServer,
) -> None:
    """nginx ends connections after some requests; whoever asks does not notice."""
    site = Site(behind_nginx, False, authority())
    url = f"http://127.0.0.1:{behind_nginx.few}/fixed.txt"
    async with site.client() as (client, transport):
        for _ in range(2 * FEW + 1):
            assert (await client.get(url)).content == FIXED
        assert transport.statistics().opened == 3


async def test_a_certificate_of_a_stranger_is_refused(server: RealServer) -> None:
    """Without trust in its authority no request is sent."""
    site = Site(server, True, trustme.CA())
    async with site.client() as (client, _):
        with pytest.raises(httpx2.ConnectError, match="certificate"):
            await client.get(site.url("/fixed"))

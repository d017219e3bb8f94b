"""
A model server that writes prebuilt chunks; usage: model_server.py. Ends when its stdin does.

It prints one line of JSON: its ports and the file of its certificate authority. The path of a
request says what is answered: ``/CHUNKS/TOGETHER/MICROSECONDS/v1/chat/completions`` is that many
chunks, so many in one write, and so long between the writes. ``GET /seen`` is answered with the
times (CLOCK_MONOTONIC) at which clients were seen to close in the middle of an answer.

A thread for each connection and blocking sockets: it has to be faster than its clients.
"""

import contextlib
import json
import select
import socket
import ssl
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import Final

import trustme

HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
#: Bytes of JSON in each chunk.
SIZE: Final = 283
# Shorter pauses are slept, without a look whether the client is there still.
_SHORT: Final = 0.01

_seen: list[float] = []


def data(payload: bytes) -> bytes:
    """Return *payload* as one event in one HTTP chunk."""
    event = b"data: " + payload + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def chunk(content: str | None, finish_reason: str | None = None) -> bytes:
    """Return the JSON of a chunk with OpenAI's fields, padded to `SIZE`."""
    delta = {} if content is None else {"content": content}
    fields = {
        "id": "chatcmpl-CdE1f2G3h4J5k6L7m8N9p0Q1r2S3t",
        "object": "chat.completion.chunk",
        "created": 1795600000,
        "model": "gpt-4o-mini-2024-07-18",
        "system_fingerprint": "fp_0a1b2c3d4e",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        "obfuscation": "",
    }
    fields["obfuscation"] = "x" * (SIZE - len(json.dumps(fields, separators=(",", ":"))))
    return json.dumps(fields, separators=(",", ":")).encode()


@cache
def writes(chunks: int, together: int) -> list[bytes]:
    """Return what is written for an answer of *chunks*, the end of it included."""
    one = data(chunk(" token"))
    parts = [one * min(together, chunks - at) for at in range(0, chunks, together)]
    return [*parts, data(chunk(None, "stop")) + data(b"[DONE]") + b"0\r\n\r\n"]


def read_request(connection: socket.socket, held: bytes) -> tuple[str, bytes] | None:
    """Return the path of the next request and what came after it; None if the client left."""
    while b"\r\n\r\n" not in held:
        more = connection.recv(65536)
        if not more:
            return None
        held += more
    head, _, body = held.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    while len(body) < length:
        more = connection.recv(65536)
        if not more:
            return None
        body += more
    return head.split(b" ", 2)[1].decode(), body[length:]


def answer(connection: socket.socket, path: str) -> bool:
    """Write the answer to a request for *path*; tell whether the client is there still."""
    if path == "/seen":
        times = json.dumps(_seen).encode()
        _seen.clear()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(times), times))
        return True
    chunks, together, pause = (int(part) for part in path.split("/")[1:4])
    connection.sendall(HEAD)
    for part in writes(chunks, together):
        connection.sendall(part)
        if pause and not wait(connection, pause / 1e6):
            _seen.append(time.monotonic())
            return False
    return True


def wait(connection: socket.socket, seconds: float) -> bool:
    """Wait, and tell whether the client is there still."""
    if seconds < _SHORT:
        time.sleep(seconds)
        return True
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return not poll.poll(seconds * 1000)


def serve(connection: socket.socket, context: ssl.SSLContext | None) -> None:
    """Answer what comes on *connection*, until the client leaves."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    held = b""
    with contextlib.suppress(OSError):
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True)
        with connection:
            while (request := read_request(connection, held)) is not None:
                path, held = request
                if not answer(connection, path):
                    return
    connection.close()


def accept(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    """Serve each connection in a thread of its own."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, context), daemon=True).start()


def main() -> None:
    threading.stack_size(256 * 1024)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    ports: list[int] = []
    for wrapped in (None, context):
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        ports.append(listener.getsockname()[1])
        threading.Thread(target=accept, args=(listener, wrapped), daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "authority.pem"
        authority.cert_pem.write_to_path(str(file))
        print(json.dumps({"http": ports[0], "https": ports[1], "authority": str(file)}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

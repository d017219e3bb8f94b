"""Servers that were not written here: hypercorn, and nginx before it, in processes of their own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from tests.actors.wire.real_app import FIXED

NGINX: Final = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

# Requests on one connection before nginx closes it, at the port for that.
FEW: Final = 2

_NGINX_CONFIG: Final = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types {{ text/plain txt; }}
    gzip on;
    gzip_types *;
    client_max_body_size 64m;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    server {{
        listen 127.0.0.1:{http};
        listen 127.0.0.1:{https} ssl;
        root {folder}/files;
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
        location /refuse {{ client_max_body_size 1k; }}
        location /last {{ keepalive_timeout 0; proxy_pass http://127.0.0.1:{behind}; }}
        location /files/ {{ alias {folder}/files/; }}
    }}
    server {{
        listen 127.0.0.1:{few};
        keepalive_requests {requests};
        location / {{ alias {folder}/files/; }}
    }}
}}
"""


@attrs.frozen
class RealServer:
    """Where a server is."""

    http: int
    https: int
    few: int = 0
    """The port of nginx that closes after `FEW` requests."""

    def url(self, path: str, *, tls: bool) -> str:
        scheme, port = ("https", self.https) if tls else ("http", self.http)
        return f"{scheme}://127.0.0.1:{port}{path}"


@contextmanager
def hypercorn(certificate: Path, key: Path) -> Generator[RealServer]:
    """Run `real_app`."""
    command = [
        sys.executable,
        str(Path(__file__).parent / "real_app.py"),
        str(certificate),
        str(key),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield RealServer(**json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()


@contextmanager
def nginx(behind: RealServer, certificate: Path, key: Path, folder: Path) -> Generator[RealServer]:
    """Run nginx, which must be there, as a proxy for *behind* and as a server of a file."""
    assert NGINX is not None
    http, https, few = _free_ports(3)
    (folder / "files").mkdir()
    (folder / "files" / "fixed.txt").write_bytes(FIXED)
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX_CONFIG.format(
            # else its worker is nobody, who can't read a folder of pytest's
            user="user root;" if os.getuid() == 0 else "",
            folder=folder,
            certificate=certificate,
            key=key,
            http=http,
            https=https,
            few=few,
            behind=behind.http,
            requests=FEW,
        )
    )
    command = [NGINX, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    with subprocess.Popen(command) as process:
        try:
            _wait_for(process, http, folder / "error.log")
            yield RealServer(http, https, few)
        finally:
            process.terminate()


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def _wait_for(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Wait until *port* is listened at."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"nginx ended with {process.returncode}: {log.read_text()}")

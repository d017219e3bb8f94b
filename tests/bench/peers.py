"""
Make the environments of the peers that the table compares with; usage: peers.py PEER...

Each is a venv of its own in build/bench/PEER, from requirements/PEER.txt; `table.py` finds it there.
One that is there already is made anew.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent.parent / "build" / "bench"


def main(*peers: str) -> None:
    known = sorted(file.stem for file in HERE.glob("requirements/*.txt"))
    if not peers or set(peers) - set(known):
        raise SystemExit(f"usage: peers.py PEER..., of {', '.join(known)}; pipecat takes 500 MB")
    for peer in peers:
        home = ENVIRONMENTS / peer
        print(f"making {home}", flush=True)
        venv.create(home, clear=True, with_pip=True)
        subprocess.run(
            [
                *(home / "bin" / "python", "-m", "pip", "install", "--quiet"),
                *("--requirement", HERE / "requirements" / f"{peer}.txt"),
            ],
            env={**os.environ, "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            check=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

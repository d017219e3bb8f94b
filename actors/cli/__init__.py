"""The ``greenroom`` command; `main` is its entry point."""

import sys

__all__ = ["main"]


def main() -> None:
    """
    Run the command that ``sys.argv`` holds, and exit with its code.

    Exit codes: 0 it did what was asked; 1 it could not, and one line on stderr says why; 2 the
    command was written wrongly; 130 Ctrl-C; 141 the output was closed; 143 SIGTERM.
    """
    try:
        # the libraries of the command line are an extra, and take a moment to import
        from greenroom.actors.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("cyclopts", "rich"):
            raise
        print(
            f"greenroom: the command line needs {error.name}, which is not installed; "
            f"write: pip install 'greenroom[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))

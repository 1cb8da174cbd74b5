"""The ``autopipe`` command; ``python -m autopipe`` is the same."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command; nothing is imported from the folder that it is typed in."""
    from autopipe import find_packages

    try:
        find_packages()
        from flows.cli.app import main as command
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing was begun\n")
        sys.exit(130)

    command()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder, which `python -m` puts first
    main()

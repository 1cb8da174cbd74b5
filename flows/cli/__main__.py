"""``python -m flows.cli`` is ``autopipe``."""

from flows.cli.app import main

main()

"""`python -m hub.cli` is the command `digm`, for children that must run in the same interpreter."""

from hub.cli import main

main()

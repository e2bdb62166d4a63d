"""`digm node` with a clock that is wrong: `python -m tests.hub.node.skewed SECONDS`."""

import sys
import time

seconds = float(sys.argv[1])
right, right_ns = time.time, time.time_ns
time.time = lambda: right() + seconds
time.time_ns = lambda: right_ns() + int(seconds * 1e9)
sys.argv = ["digm", "node"]

from hub.cli import main  # noqa: E402 - modules take their clock when they are imported

main()

"""One of several gateway processes: `python -m hub.gateway.worker PLAIN TLS QUIC`, descriptors or `-`."""

import sys
from functools import partial

from hub.config import load_settings
from hub.gateway.server import serve
from hub.gateway.sockets import GatewaySockets
from hub.lifecycle import run_process


def main() -> None:
    """Serve on the inherited sockets until SIGTERM."""
    settings = load_settings()
    run_process("gateway", settings, partial(serve, settings, sockets=GatewaySockets.inherited(sys.argv[1:4])))


if __name__ == "__main__":
    main()

"""`digm gateway`: chunks and manifests over HTTP."""


def gateway() -> None:
    """Run the gateway: encrypted chunks over HTTP/1.1 and HTTP/2. Configured by DIGM_* variables."""
    from functools import partial

    from hub.config import load_settings
    from hub.gateway.server import serve
    from hub.lifecycle import run_process

    settings = load_settings()
    run_process("gateway", settings, partial(serve, settings))

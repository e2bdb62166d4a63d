"""`digm relay`: TURN for listeners behind NATs."""


def relay() -> None:
    """Run the TURN relay for listeners behind NATs. Configured by DIGM_* variables (docs/relay.md)."""
    from functools import partial

    from hub.config import load_settings
    from hub.lifecycle import run_process
    from hub.relay.relay import serve

    settings = load_settings()
    run_process("relay", settings, partial(serve, settings))

"""`digm hub`: pages, API, signalling."""


def hub() -> None:
    """Run the hub: pages, API, signalling. Configured by DIGM_* variables."""
    from functools import partial

    from hub.app import serve
    from hub.config import load_settings
    from hub.lifecycle import run_process

    settings = load_settings()
    run_process("hub", settings, partial(serve, settings))

"""`digm artist`: the key vault and the inbox."""


def artist() -> None:
    """Run the artist's key vault and inbox. Configured by DIGM_* variables."""
    from functools import partial

    from hub.config import load_settings
    from hub.granting.artist import serve
    from hub.lifecycle import run_process

    settings = load_settings()
    run_process("artist", settings, partial(serve, settings))

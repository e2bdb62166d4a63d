"""`digm seed`: chunks over WebRTC."""


def seed() -> None:
    """Run the seeding peer: chunks over WebRTC. Configured by DIGM_* variables."""
    from functools import partial

    from hub.config import load_settings
    from hub.lifecycle import run_process
    from hub.seeding.seed import serve

    settings = load_settings()
    run_process("seed", settings, partial(serve, settings))

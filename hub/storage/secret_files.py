"""Secrets that the processes of one data folder share: made once, read by all, mode 600."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from digm.errors import CallerFault

SECRET_BYTES = 32


def load_secret(data: Path, name: str) -> bytes:
    """32 random bytes in DATA/secrets/NAME that stay the same; made once, also if two processes race for it.

    Raises:
        CallerFault: `bad_secret`, `data_not_writable`.
    """
    path = data / "secrets" / name
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_once(path, secrets.token_bytes(SECRET_BYTES))
        secret = path.read_bytes()
    except OSError as error:
        raise CallerFault(
            "data_not_writable", f"{path} cannot be read or made: {error.strerror or error}."
        ) from error
    if len(secret) != SECRET_BYTES:
        raise CallerFault("bad_secret", f"{path} should hold {SECRET_BYTES} bytes; remove it to get a new one.")
    return secret


def create_once(path: Path, content: bytes) -> None:
    """Make a file, mode 600, whole or not at all; one that is there stays as it is. Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # mkstemp's mode is 600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # link, not rename: it fails when another process was first, so both use the same secret.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)  # noqa: PTH108 - the pair of os.link

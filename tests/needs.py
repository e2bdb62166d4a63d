"""What not every machine has."""

import os
from typing import NoReturn

import pytest

from hub.chain.devnet.anvil import find_anvil

IS_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


def lacking(why: str) -> NoReturn:
    """On a developer's machine that is no fault; where submissions are checked it would hide one."""
    (pytest.fail if IS_CI else pytest.skip)(why)
    raise AssertionError(why)


def anvil() -> str:
    """Its program; DIGM_ANVIL names one."""
    return os.environ.get("DIGM_ANVIL") or find_anvil() or lacking("Anvil is not installed: npm ci")

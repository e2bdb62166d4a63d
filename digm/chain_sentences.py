"""Sentences about the chain, with their people and tracks apart, and amounts and times in words."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

UNIT = 10**18
Token = Callable[[str], str]
"""The name of a token, by its address."""


@dataclass(frozen=True)
class Sentence:
    """One thing that happened.

    Attributes:
        form: with `{who}`, `{other}` (accounts) and `{track}` (its id on the chain) in it.
        is_bad: something was lost.
    """

    form: str
    who: str = ""
    other: str = ""
    track: bytes = b""
    is_bad: bool = False

    def say(self, account: Callable[[str], str], track: Callable[[bytes], str]) -> str:
        """The sentence with names.

        Args:
            account: the name of an account, with checksum. track: the title of a track, by its id on the chain.
        """
        return self.form.format(
            who=account(self.who) if self.who else "",
            other=account(self.other) if self.other else "",
            track=track(self.track) if self.track else "",
        )


def amount(units: int) -> str:
    """An amount for people: whole tokens with four digits behind the point, or four that say something."""
    whole, part = divmod(abs(units), UNIT)
    digits = f"{part:018d}"
    keep = 4 if whole else max(4, len(digits) - len(digits.lstrip("0")) + 4)
    return ("-" if units < 0 else "") + f"{whole:,}.{digits[:keep]}".rstrip("0").rstrip(".")


def day(seconds: int) -> str:
    """A moment of the chain's clock."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return "the far future"

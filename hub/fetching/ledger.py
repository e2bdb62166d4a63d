"""What came from whom, how long it took, and what went wrong: for people, and for programs with `--json`."""

import time
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from digm.errors import DigmError


class Problem(msgspec.Struct, frozen=True):
    """Somebody who could not be asked at all, such as a hub that does not answer."""

    where: str
    code: str
    message: str


class SourceReport(msgspec.Struct, frozen=True):
    """One source.

    Attributes:
        bytes: of chunks that were right and were used.
        wasted_bytes: of chunks that were wrong, or came from somebody else first.
        busy_s: while it was asked for something.
        errors: code -> how often.
        last_error: a sentence.
    """

    name: str
    kind: str
    chunks: int
    bytes: int
    wasted_bytes: int
    busy_s: float
    bytes_per_s: float | None
    errors: dict[str, int]
    last_error: str | None
    is_banned: bool


@dataclass
class SourceAccount:
    """Of one source, while it is asked."""

    name: str
    kind: str
    chunks: int = 0
    bytes: int = 0
    wasted_bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    last_error: str | None = None
    is_banned: bool = False
    _asks: int = 0
    _busy_since: float = 0.0
    _busy_s: float = 0.0

    def began(self) -> None:
        """It was asked for one thing more."""
        if not self._asks:
            self._busy_since = time.monotonic()
        self._asks += 1

    def ended(self) -> None:
        """One thing less."""
        self._asks -= 1
        if not self._asks:
            self._busy_s += time.monotonic() - self._busy_since

    def failed(self, code: str, message: str) -> None:
        """Something that it was asked for did not come, or was not right."""
        self.errors[code] += 1
        self.last_error = message

    def report(self) -> SourceReport:
        busy_s = self._busy_s + (time.monotonic() - self._busy_since if self._asks else 0.0)
        return SourceReport(
            self.name, self.kind, self.chunks, self.bytes, self.wasted_bytes, round(busy_s, 3),
            round(self.bytes / busy_s) if self.bytes and busy_s else None,
            dict(self.errors), self.last_error, self.is_banned,
        )  # fmt: skip


class Ledger:
    """All sources of one track, and the problems on the way to them."""

    def __init__(self) -> None:
        self.began_at = time.monotonic()
        self._accounts: dict[str, SourceAccount] = {}
        self._problems: dict[tuple[str, str], Problem] = {}

    def account(self, name: str, kind: str) -> SourceAccount:
        """That of a source; opened when it is asked for the first time."""
        return self._accounts.setdefault(name, SourceAccount(name, kind))

    def problem(self, where: str, fault: DigmError) -> None:
        """Somebody could not be asked; of several of one kind the last is kept."""
        self._problems[where, fault.code] = Problem(where, fault.code, fault.message)

    @property
    def sources(self) -> list[SourceReport]:
        """Those that gave most first."""
        reports = [account.report() for account in self._accounts.values()]
        return sorted(reports, key=lambda report: (-report.bytes, report.kind, report.name))

    @property
    def problems(self) -> list[Problem]:
        return list(self._problems.values())

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return round(time.monotonic() - self.began_at, 3)

    def reasons(self) -> str:
        """Why nothing came, in a sentence's end: the last error of each source, the problems, or that there is
        nobody."""
        said = [f"{it.name}: {it.last_error}" for it in self.sources if it.last_error]
        said += [f"{problem.where}: {problem.message}" for problem in self.problems]
        return " ".join(said) or "nobody who has it was found."

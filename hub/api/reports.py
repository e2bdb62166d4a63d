"""What players that agree to it tell of how it went: bytes by source, stalls, first sound. Nothing about who.

A report is added up and forgotten; the address it came from is only looked at for the rate limit. The numbers
are the players' word: good for seeing how a swarm fares, not for settling anything.
"""

import statistics
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta
from prometheus_client import Counter, Histogram

from digm.errors import CallerFault
from digm.ids import is_hex_id
from hub.api.addresses import client_address
from hub.api.bodies import read_json
from hub.granting.rate import RateLimit
from hub.services import SERVICES

PER_MINUTE = 60  # of one address: a report a minute for each of 60 players behind it
MAX_TRACKS = 1_000
KEPT_FIRST_SOUNDS = 64
CORS = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"}
_Bytes = Annotated[int, Meta(ge=0, le=2**32)]

REPORTS = Counter("digm_player_reports", "Reports of players that agree to give them.", ["result"])
BYTES = Counter("digm_player_bytes", "Bytes that players got, by where from (reported).", ["source"])
GIVEN = Counter("digm_player_given_bytes", "Bytes that players gave to others (reported).")
STALLS = Counter("digm_player_stalls", "Times that sound stopped for want of data (reported).")
PLAYED = Counter("digm_player_played_seconds", "Time that was played (reported).")
FIRST_SOUND = Histogram(
    "digm_player_first_sound_seconds",
    "From pressing play to sound (reported).",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30),
)


class ReportBytes(msgspec.Struct, frozen=True):
    """Bytes since the player's last report."""

    peer: _Bytes = 0
    gateway: _Bytes = 0
    cache: _Bytes = 0


class PlayerReport(msgspec.Struct, frozen=True):
    """What one player did with one track since its last report; `first_sound_ms` once, in the first one."""

    track: Annotated[str, Meta(max_length=64)]
    bytes: ReportBytes = ReportBytes()
    given: _Bytes = 0
    stalls: Annotated[int, Meta(ge=0, le=1_000)] = 0
    played_s: Annotated[float, Meta(ge=0, le=7_200)] = 0.0
    first_sound_ms: Annotated[float, Meta(ge=0, le=120_000)] | None = None


@dataclass
class TrackSums:
    """What the players of one track said, added up."""

    peer: int = 0
    gateway: int = 0
    cache: int = 0
    stalls: int = 0
    first_sounds_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_FIRST_SOUNDS))

    @property
    def first_sound_ms(self) -> float | None:
        """The median of the latest; None: nobody said."""
        return statistics.median(self.first_sounds_ms) if self.first_sounds_ms else None


class PlayerReports:
    """All reports of one hub process; the sums of the tracks that were heard of last are kept."""

    def __init__(self) -> None:
        self.rate = RateLimit(PER_MINUTE)
        self._tracks: OrderedDict[str, TrackSums] = OrderedDict()

    def add(self, report: PlayerReport) -> None:
        """Add one up."""
        sums = self._tracks.setdefault(report.track, TrackSums())
        self._tracks.move_to_end(report.track)
        if len(self._tracks) > MAX_TRACKS:
            self._tracks.popitem(last=False)
        for source in ("peer", "gateway", "cache"):
            count = getattr(report.bytes, source)
            BYTES.labels(source).inc(count)
            setattr(sums, source, getattr(sums, source) + count)
        GIVEN.inc(report.given)
        PLAYED.inc(report.played_s)
        STALLS.inc(report.stalls)
        sums.stalls += report.stalls
        if report.first_sound_ms is not None:
            FIRST_SOUND.observe(report.first_sound_ms / 1000)
            sums.first_sounds_ms.append(report.first_sound_ms)
        REPORTS.labels("taken").inc()

    def of(self, track: str) -> TrackSums:
        """What is known of one track."""
        return self._tracks.get(track) or TrackSums()


PLAYER_REPORTS: web.AppKey[PlayerReports] = web.AppKey("player_reports", PlayerReports)


def add_reports(app: web.Application) -> None:
    """Mount `POST /api/reports`."""
    app[PLAYER_REPORTS] = PlayerReports()
    app.router.add_post("/api/reports", take_report)


async def take_report(request: web.Request) -> web.Response:
    """One report; any type of body, so that `navigator.sendBeacon` can send it while a page closes."""
    reports, services = request.app[PLAYER_REPORTS], request.app[SERVICES]
    try:
        reports.rate.take(client_address(request, services.settings), time.monotonic())
        report = await _read(request)
        await services.track(report.track)  # only tracks that are here are counted
    except Exception:
        REPORTS.labels("refused").inc()
        raise
    reports.add(report)
    return web.Response(status=204, headers=CORS)


async def _read(request: web.Request) -> PlayerReport:
    report = await read_json(request, PlayerReport, "This is not a report: see docs/peers.md.")
    if not is_hex_id(report.track):
        raise CallerFault("bad_body", "A track is 64 lower-case hex digits.")
    return report

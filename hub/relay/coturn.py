"""coturn as the relay: a configuration that keeps to docs/relay.md, and a child process that is watched.

It takes the embedded relay's place where much is relayed. Same secret, same credentials, same list of forbidden
peers; what it cannot do (docs/relay.md names it) is not promised.
"""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import time
from pathlib import Path

import structlog

from digm.errors import CallerFault, Unavailable
from hub.config import Settings
from hub.lifecycle import tie_to_parent
from hub.relay.credentials import TTL_S, load_relay_secret, secret_text
from hub.relay.limits import DEFAULT_LIMITS
from hub.relay.place import Place
from hub.relay.probe import stun_round_trip_s
from hub.relay.sockets import bind_tcp, tls_context
from hub.supervision import BACKOFF_FIRST_S, BACKOFF_MOST_S, STEADY_AFTER_S, open_log

log = structlog.get_logger()
PROGRAM = "turnserver"
ANSWERS_WITHIN_S = 10.0
STOP_WITHIN_S = 3.0
PROBE_S = 0.1
ENDS_BEFORE_GIVING_UP = 3
# coturn's own (its schema.sql). Each of its threads makes them where they are missing, all at once, and whoever
# finds the file locked meanwhile turns its clients away with "Cannot find credentials".
DATABASE = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS turnusers_lt
    (realm varchar(127) DEFAULT '', name varchar(512), hmackey char(128), PRIMARY KEY (realm, name));
CREATE TABLE IF NOT EXISTS turn_secret
    (realm varchar(127) DEFAULT '', value varchar(127), PRIMARY KEY (realm, value));
CREATE TABLE IF NOT EXISTS allowed_peer_ip
    (realm varchar(127) DEFAULT '', ip_range varchar(256), PRIMARY KEY (realm, ip_range));
CREATE TABLE IF NOT EXISTS denied_peer_ip
    (realm varchar(127) DEFAULT '', ip_range varchar(256), PRIMARY KEY (realm, ip_range));
CREATE TABLE IF NOT EXISTS turn_origin_to_realm
    (origin varchar(127), realm varchar(127), PRIMARY KEY (origin));
CREATE TABLE IF NOT EXISTS turn_realm_option
    (realm varchar(127) DEFAULT '', opt varchar(32), value varchar(128), PRIMARY KEY (realm, opt));
CREATE TABLE IF NOT EXISTS oauth_key
    (kid varchar(128), ikm_key varchar(256), timestamp bigint DEFAULT 0, lifetime integer DEFAULT 0,
     as_rs_alg varchar(64) DEFAULT '', realm varchar(127) DEFAULT '', PRIMARY KEY (kid));
CREATE TABLE IF NOT EXISTS admin_user
    (name varchar(32), realm varchar(127), password varchar(127), PRIMARY KEY (name));
"""


def configuration(settings: Settings, place: Place, secret: bytes) -> str:
    """The text of turnserver.conf.

    Args:
        secret: `load_relay_secret`.
    """
    lines = [
        "use-auth-secret",
        f"static-auth-secret={secret_text(secret)}",
        f"realm={settings.turn_realm}",
        "fingerprint",
        f"stale-nonce={DEFAULT_LIMITS.nonce_s}",
        # Only what WebRTC needs: relayed UDP. No console, no RFC 5780 (an amplifier), no TCP relaying (it
        # reaches every TCP service of a network), no dynamic lists, no software version for strangers.
        *("no-cli", "no-tcp-relay", "no-multicast-peers", "no-rfc5780", "no-software-attribute"),
        *("no-dynamic-ip-list", "no-dynamic-realms", "no-stun-backward-compatibility"),
        *("response-origin-only-with-rfc5780", "no-tlsv1", "no-tlsv1_1", "no-dtls"),
        f"listening-port={settings.turn_port}",
        f"min-port={settings.turn_min_port}",
        f"max-port={settings.turn_max_port}",
        f"user-quota={settings.turn_allocations_per_session}",
        f"total-quota={settings.turn_allocations}",
        # Not bps-capacity: coturn reserves max-bps of it for each allocation and refuses the rest, busy or not.
        f"max-bps={settings.turn_allocation_bytes_per_s}",
        f"max-allocate-lifetime={TTL_S}",
        "log-file=stdout",
        "pidfile=" + str(_folder(settings) / "turnserver.pid"),
        "userdb=" + str(_folder(settings) / "empty.sqlite"),
    ]
    if settings.turn_cert and settings.turn_key:
        lines += [
            f"tls-listening-port={settings.turn_tls_port}",
            f"cert={settings.turn_cert.absolute()}",
            f"pkey={settings.turn_key.absolute()}",
        ]
    else:
        lines.append("no-tls")
    for host in place.hosts:
        lines += [f"listening-ip={host}", f"relay-ip={host}"]
    if settings.turn_external_ip:
        lines.append(f"external-ip={settings.turn_external_ip}")
    if any(network.is_loopback for network in place.rules.allowed):
        lines.append("allow-loopback-peers")
    lines += [f"allowed-peer-ip={first}-{last}" for first, last in place.rules.allowed_ranges()]
    # A range from :: has no beginning to coturn and would hold all of IPv4; it refuses :: by itself.
    lines += [
        f"denied-peer-ip={first if int(first) else first + 1}-{last}"
        for first, last in place.rules.denied_ranges()
    ]
    return "\n".join(lines) + "\n"


def _folder(settings: Settings) -> Path:
    return settings.data / "relay"


class Coturn:
    """`turnserver` as a child of this process."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings
        self._place = place
        self._log_path = settings.data / "logs" / "coturn.log"
        self._tie = tie_to_parent()
        self._program = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Keep it running until `stop` is set.

        Raises:
            CallerFault: `coturn_missing`, `port_in_use`, `cannot_listen`, `bad_certificate`.
            Unavailable: `coturn_failed`: it ends again and again before it has answered once.
        """
        settings = self._settings
        self._program = shutil.which(PROGRAM) or ""
        if not self._program:
            raise CallerFault(
                "coturn_missing",
                f"DIGM_TURN_ENGINE is coturn, and there is no program {PROGRAM}: install it "
                "(apt-get install coturn), or set DIGM_TURN_ENGINE=embedded.",
            )
        if settings.turn_cert and settings.turn_key:
            tls_context(str(settings.turn_cert), str(settings.turn_key))
        # coturn goes on without the addresses that it cannot have, and says so only in its log.
        for host in self._place.hosts:
            bind_tcp(host, settings.turn_port).close()
        stopping: asyncio.Task[bool] = asyncio.create_task(stop.wait(), name="relay-stop")
        try:
            await self._keep_running(self._write_configuration(), stopping)
        finally:
            stopping.cancel()

    async def _keep_running(self, path: Path, stopping: "asyncio.Task[bool]") -> None:
        delay_s, early_ends = BACKOFF_FIRST_S, 0
        while not stopping.done():
            began = time.monotonic()
            process = await self._start(path)
            ending: asyncio.Task[object] = asyncio.create_task(process.wait(), name="coturn")
            waited: set[asyncio.Task[object]] = {ending, stopping}
            try:
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _end(process)
            if stopping.done():
                return
            log.warning("coturn_ended", status=process.returncode, restart_in_s=delay_s)
            was_steady = time.monotonic() - began > STEADY_AFTER_S
            early_ends, delay_s = (0, BACKOFF_FIRST_S) if was_steady else (early_ends + 1, delay_s)
            if early_ends >= ENDS_BEFORE_GIVING_UP:
                raise Unavailable("coturn_failed", f"coturn does not stay up; {self._log_path} says why.")
            await asyncio.wait({stopping}, timeout=delay_s)
            delay_s = min(2 * delay_s, BACKOFF_MOST_S)

    async def _start(self, path: Path) -> asyncio.subprocess.Process:
        with open_log(self._log_path) as target:
            return await asyncio.create_subprocess_exec(
                *(self._program, "-c", str(path)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=target,
                stderr=target,
                cwd=path.parent,
                preexec_fn=self._tie,
            )

    def _write_configuration(self) -> Path:
        """The secret stands in a file; a command line can be read by everybody on the machine."""
        folder = _folder(self._settings)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "turnserver.conf"
        text = configuration(self._settings, self._place, load_relay_secret(self._settings.data))
        temporary = path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        with contextlib.closing(sqlite3.connect(folder / "empty.sqlite")) as database:
            database.executescript(DATABASE)
        return temporary.replace(path)

    async def ready(self) -> dict[str, bool]:
        """For `/readyz`: whether it answers a STUN binding."""
        rtt_s = await stun_round_trip_s(self._place.hosts[0], self._settings.turn_port)
        return {"relay_listening": rtt_s is not None}


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_WITHIN_S):
            await process.wait()
            return
    process.kill()
    await process.wait()

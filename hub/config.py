"""Settings: one frozen object, read once from `DIGM_*` variables and the TOML file named by `DIGM_CONFIG`.

Every field is described where it stands; `docs/settings.md` repeats the descriptions for operators and a test
keeps the two together. Whoever needs a setting takes the object as an argument: nothing here is global.
"""

import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from digm.announcements import MAX_NAME
from digm.errors import CallerFault
from digm.ids import is_hex_id, to_hex
from digm.node_ids import node_of
from hub.chain_settings import ChainSettings

PREFIX = "DIGM_"
LOG_LEVELS = ("debug", "info", "warning", "error")
HIGHEST_PORT = 65_535
SHORTEST_TOKEN = 16  # of a password that is asked for over the network
# The hub's port + 1, + 2, + 3, + 4 where unset.
FOLLOWERS = ("gateway_port", "seed_port", "artist_port", "relay_port")
Port = Annotated[int, Meta(ge=-1, le=HIGHEST_PORT)]


def default_data() -> Path:
    """Where data lives when nobody says otherwise (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "digm"


class Settings(ChainSettings, frozen=True, kw_only=True):
    """What an operator may choose. `port=0` asks the system for a free port (tests)."""

    data: Annotated[
        Path, Meta(description="The data folder: chunks, manifests, catalogue, vault, secrets, inbox.")
    ] = msgspec.field(default_factory=default_data)
    host: Annotated[str, Meta(description="Address that the hub and the gateway listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port of the hub: pages, API, signalling.")] = 8080
    gateway_port: Annotated[Port, Meta(description="Port of the gateway; -1 means the hub's port + 1.")] = -1
    seed_port: Annotated[
        Port, Meta(description="Health port of the seeding peer; -1: the hub's port + 2.")
    ] = -1
    artist_port: Annotated[
        Port, Meta(description="Health port of the artist process; -1: the hub's port + 3.")
    ] = -1
    relay_port: Annotated[Port, Meta(description="Health port of the relay; -1: the hub's port + 4.")] = -1
    public_url: Annotated[
        str | None,
        Meta(description="The hub's URL as listeners see it; unset: taken from each request's host."),
    ] = None
    gateway_url: Annotated[
        str | None,
        Meta(description="The gateway's URL as listeners see it; unset: the request's host, gateway's port."),
    ] = None
    signal_url: Annotated[
        str,
        Meta(description="Where the seeding peer and the artist process find the hub; unset: this machine."),
    ] = ""
    gateways: Annotated[
        tuple[str, ...],
        Meta(description="URLs of other gateways that hold this hub's tracks, for when its own fails."),
    ] = ()
    backbone_listen: Annotated[
        tuple[str, ...],
        Meta(description="Multiaddrs at which the hub takes part in the backbone; unset: it does not."),
    ] = ()
    backbone_bootstrap: Annotated[
        tuple[str, ...],
        Meta(description="Multiaddrs (/.../p2p/ID) of nodes that the backbone is joined through."),
    ] = ()
    operator: Annotated[
        str, Meta(description="Who runs this, as others are told; copies go to operators that have none yet.")
    ] = "unknown"
    network: Annotated[
        str,
        Meta(description="In which network it stands, such as an AS number; copies are spread over them, too."),
    ] = "unknown"
    backbone_announce: Annotated[
        tuple[str, ...],
        Meta(description="Multiaddrs that nodes are told in place of those listened on, such as behind a NAT."),
    ] = ()
    node_allow: Annotated[
        tuple[str, ...],
        Meta(description="Networks in which nodes' gateways are asked although they are not public."),
    ] = ()
    node_port: Annotated[
        int,
        Meta(ge=0, le=HIGHEST_PORT, description="Health port of a node; 0: a free one, which it keeps."),
    ] = 0
    node_bytes: Annotated[
        int, Meta(ge=1_000_000, description="Most bytes of chunks and manifests that a node stores.")
    ] = 10 * 1024**3
    node_settle_seconds: Annotated[
        float, Meta(ge=0, description="How long a node only listens after its start before it makes copies.")
    ] = 30.0
    node_loss_seconds: Annotated[
        float, Meta(ge=0, description="How long a copy must be missing before another node makes a new one.")
    ] = 300.0
    node_presence_seconds: Annotated[
        int, Meta(ge=3, le=3600, description="How long a node that is silent counts as there.")
    ] = 180
    audit_epoch_seconds: Annotated[
        int, Meta(ge=1, le=86_400, description="How often a node audits those that hold the same tracks.")
    ] = 3600
    node_scrub_seconds: Annotated[
        float, Meta(ge=0, description="Rest of a node's scrubber between two rounds over fewer than 32 chunks.")
    ] = 60.0
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Addresses or networks of reverse proxies whose X-Forwarded-* headers are believed."),
    ] = ()
    vault_passphrase: Annotated[
        str | None,
        Meta(description="Passphrase of the artist's key vault; unset: protected by file mode alone."),
    ] = None
    stun_urls: Annotated[
        tuple[str, ...], Meta(description="STUN servers given to peers, such as stun:stun.example.org:3478.")
    ] = ()
    turn_urls: Annotated[
        tuple[str, ...],
        Meta(
            description="TURN servers given to peers, with credentials; {host}: the host of the peer's request."
        ),
    ] = ()
    hubs: Annotated[
        tuple[str, ...],
        Meta(description="URLs of all hubs that share the swarms, this one's DIGM_PUBLIC_URL among them."),
    ] = ()
    operator_token: Annotated[
        str | None,
        Meta(description="Password of the operator's page /operator; unset: only from the hub's own machine."),
    ] = None
    watched_nodes: Annotated[
        tuple[str, ...],
        Meta(description="URLs of nodes (DIGM_NODE_PORT) whose audits and traffic the operator's page shows."),
    ] = ()
    nodes: Annotated[int, Meta(ge=0, le=9, description="Elder nodes that `digm up` runs on this machine.")] = 3
    offer_relay: Annotated[
        tuple[str, ...],
        Meta(description="TURN URLs at which this machine's relay is offered to others by its seeding peer."),
    ] = ()
    elder_nodes: Annotated[
        tuple[str, ...],
        Meta(
            description="Peer ids of nodes that may give to this hub's listeners, and offer them TURN servers."
        ),
    ] = ()
    sessions_per_address: Annotated[
        int, Meta(ge=1, description="Signalling connections that one address may have at once.")
    ] = 250
    min_listeners: Annotated[
        int,
        Meta(ge=0, description="Listeners connect with each other only from this many in a swarm; 0: always."),
    ] = 0
    relay: Annotated[
        Literal["auto", "yes", "no"],
        Meta(description="Whether `digm up` runs a TURN relay; auto: unless it is for this machine alone."),
    ] = "auto"
    turn_engine: Annotated[
        Literal["embedded", "coturn"],
        Meta(description="What `digm relay` runs: its own relay, or coturn with a hardened configuration."),
    ] = "embedded"
    turn_host: Annotated[
        tuple[str, ...],
        Meta(description="Addresses that the relay listens on and relays from; unset: as DIGM_HOST says."),
    ] = ()
    turn_port: Annotated[int, Meta(ge=0, le=HIGHEST_PORT, description="Port of the relay, UDP and TCP.")] = 3478
    turn_tls_port: Annotated[
        int, Meta(ge=0, le=HIGHEST_PORT, description="Port of the relay, TLS; needs the certificate.")
    ] = 5349
    turn_cert: Annotated[Path | None, Meta(description="TLS certificate chain of the relay (PEM).")] = None
    turn_key: Annotated[Path | None, Meta(description="TLS private key of the relay (PEM).")] = None
    turn_external_ip: Annotated[
        str,
        Meta(
            description="The relay's public address, where a NAT maps it one to one to the one it listens on."
        ),
    ] = ""
    turn_realm: Annotated[str, Meta(description="Realm of the relay's credentials.")] = "digm"
    turn_allow: Annotated[
        tuple[str, ...],
        Meta(description="Networks that the relay reaches although they are not public (docs/relay.md)."),
    ] = ()
    turn_min_port: Annotated[int, Meta(ge=1024, le=HIGHEST_PORT, description="Lowest relayed UDP port.")] = (
        49_160
    )
    turn_max_port: Annotated[int, Meta(ge=1024, le=HIGHEST_PORT, description="Highest relayed UDP port.")] = (
        53_159
    )
    turn_allocations: Annotated[int, Meta(ge=1, description="Relayed addresses in all.")] = 2_000
    turn_allocations_per_session: Annotated[
        int, Meta(ge=1, description="Relayed addresses of one session.")
    ] = 60
    turn_bytes_per_s: Annotated[
        int, Meta(ge=1, description="Bytes a second that the relay carries in all.")
    ] = 12_500_000
    turn_allocation_bytes_per_s: Annotated[
        int, Meta(ge=1, description="Bytes a second that one relayed address carries.")
    ] = 1_250_000
    ice_loopback: Annotated[
        bool,
        Meta(description="Offer 127.0.0.1 as an ICE candidate, so that it works on one machine offline."),
    ] = True
    upload_bytes_per_s: Annotated[
        int, Meta(ge=0, description="Upload cap of the seeding peer in bytes per second; 0: no cap.")
    ] = 0
    upload_slots: Annotated[int, Meta(ge=1, description="How many peers the seeding peer serves at once.")] = 16
    grant_seconds: Annotated[
        int, Meta(ge=60, description="How long a listening grant is valid, in seconds.")
    ] = 6 * 3600
    grants_per_minute: Annotated[
        int, Meta(ge=1, description="Listening grants that one address may ask for in a minute.")
    ] = 120
    listening_proof: Annotated[
        bool, Meta(description="Collect the receipts that listeners sign for who gave to them, if they agree.")
    ] = False
    verify_reads: Annotated[
        bool, Meta(description="Hash every chunk when it is read from disk; a damaged one is refused.")
    ] = True
    gateway_cache_bytes: Annotated[
        int, Meta(ge=0, description="Chunks that the gateway keeps in memory, in bytes.")
    ] = 256 * 1024 * 1024
    gateway_cert: Annotated[Path | None, Meta(description="TLS certificate chain of the gateway (PEM).")] = None
    gateway_key: Annotated[Path | None, Meta(description="TLS private key of the gateway (PEM).")] = None
    gateway_tls_port: Annotated[
        Port,
        Meta(
            description="Another port of the gateway with TLS, TCP and UDP (HTTP/3); -1: none. Without a "
            "certificate it makes itself one."
        ),
    ] = -1
    gateway_workers: Annotated[
        int, Meta(ge=1, le=64, description="Processes that the gateway runs, each with sockets of its own.")
    ] = 1
    gateway_tcp: Annotated[
        Literal["hypercorn", "granian", "nginx"],
        Meta(description="What carries the gateway's HTTP/1.1 and 2: hypercorn, granian, nginx."),
    ] = "hypercorn"
    log_level: Annotated[str, Meta(description="debug, info, warning or error.")] = "info"

    def __post_init__(self) -> None:
        def resolve(name: str, value: object) -> None:
            msgspec.structs.force_setattr(self, name, value)

        if self.log_level not in LOG_LEVELS:
            raise _bad("log_level", f"{self.log_level!r} is not one of {', '.join(LOG_LEVELS)}")
        if (self.gateway_cert is None) != (self.gateway_key is None):
            raise _bad("gateway_cert", "the certificate and DIGM_GATEWAY_KEY go together")
        if (self.turn_cert is None) != (self.turn_key is None):
            raise _bad("turn_cert", "the certificate and DIGM_TURN_KEY go together")
        if self.turn_min_port > self.turn_max_port:
            raise _bad("turn_min_port", "it is above DIGM_TURN_MAX_PORT")
        if self.operator_token is not None and len(self.operator_token) < SHORTEST_TOKEN:
            raise _bad("operator_token", f"it has fewer than {SHORTEST_TOKEN} characters")
        if self.port < 0:
            raise _bad("port", "a port is 0 to 65535")
        resolve("data", Path(os.path.abspath(self.data.expanduser())))  # noqa: PTH100 - symlinks stay
        for name, port in self._following_ports().items():
            resolve(name, port)
        for name in ("public_url", "gateway_url", "signal_url"):
            resolve(name, _checked_url(name, getattr(self, name)))
        for name in ("gateways", "watched_nodes", "chain_rpc"):
            resolve(name, tuple(_checked_url(name, url) for url in getattr(self, name)))
        resolve("hubs", tuple(_checked_url("hubs", url) for url in self.hubs))
        if self.hubs and self.public_url not in self.hubs:
            raise _bad("hubs", "DIGM_PUBLIC_URL, by which the others know this hub, is not among them")
        for name in ("operator", "network"):
            _check_name(name, getattr(self, name))
        _check_addresses("turn_host", self.turn_host, ipaddress.ip_address)
        _check_addresses("turn_external_ip", (self.turn_external_ip or "::",), ipaddress.ip_address)
        _check_addresses("turn_allow", self.turn_allow, ipaddress.ip_network)
        _check_addresses("node_allow", self.node_allow, ipaddress.ip_network)
        resolve("elder_nodes", tuple(_node_key("elder_nodes", name) for name in self.elder_nodes))
        _check_ice_urls("stun_urls", self.stun_urls, ("stun:", "stuns:"))
        for name in ("turn_urls", "offer_relay"):
            _check_ice_urls(name, getattr(self, name), ("turn:", "turns:"))
        if not self.signal_url and self.port:  # where it is not known, as in a node, there is none
            resolve("signal_url", self.own_url(self.port))

    def own_url(self, port: int) -> str:
        """How another process on this machine reaches a port that a process of ours listens on."""
        host = "127.0.0.1" if self.host in ("", "0.0.0.0", "::", "localhost") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def _following_ports(self) -> dict[str, int]:
        """The ports that were left to follow the hub's."""
        offsets = {name: n for n, name in enumerate(FOLLOWERS, start=1) if getattr(self, name) < 0}
        highest = HIGHEST_PORT - max(offsets.values(), default=0)
        if self.port > highest:
            others = ", ".join(variable_of(name) for name in offsets)
            raise _bad("port", f"{highest} is the highest port that leaves room for {others} behind it")
        return {name: self.port + offset if self.port else 0 for name, offset in offsets.items()}

    def __repr__(self) -> str:
        # Not the generated one: the passphrase must not reach a log.
        return f"Settings(data={str(self.data)!r}, host={self.host!r}, port={self.port})"


def _bad(name: str, why: str) -> CallerFault:
    variable = PREFIX + name.upper()
    return CallerFault("bad_setting", f"The setting {variable} cannot be used: {why}.", variable=variable)


def _checked_url(name: str, url: str | None) -> str | None:
    if not url:
        return url
    if not url.startswith(("http://", "https://")):
        raise _bad(name, f"{url!r} does not start with http:// or https://")
    return url.rstrip("/")


def _check_name(name: str, text: str) -> None:
    if not 0 < len(text) <= MAX_NAME or not text.isprintable():
        raise _bad(name, f"a name has 1 to {MAX_NAME} printable characters")


def _node_key(name: str, text: str) -> str:
    """A node's key in hex, as signalling has it, of either of its two names."""
    try:
        return text if is_hex_id(text) else to_hex(node_of(text))
    except CallerFault as fault:
        raise _bad(name, f"{text!r:.80} is neither a peer id (12D3KooW...) nor 64 hex digits") from fault


def _check_addresses(name: str, texts: tuple[str, ...], parse: Callable[[str], object]) -> None:
    for text in texts:
        try:
            parse(text)
        except ValueError as error:
            raise _bad(name, str(error)) from error


def _check_ice_urls(name: str, urls: tuple[str, ...], schemes: tuple[str, ...]) -> None:
    for url in urls:
        if not url.startswith(schemes) or url in schemes or "//" in url:
            raise _bad(name, f"{url!r} is not of the form {schemes[0]}HOST:PORT (RFC 7064, RFC 7065)")


def variable_of(field: str) -> str:
    """The environment variable that sets a field."""
    return PREFIX + field.upper()


def _convert(field: msgspec.structs.FieldInfo, value: object) -> Any:
    is_list = get_origin(get_args(field.type)[0]) is tuple
    if is_list and isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    try:
        return msgspec.convert(value, field.type, strict=False, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise _bad(field.name, f"{str(error)[0].lower()}{str(error)[1:]}") from error


def _decode_path(wanted: type, value: object) -> object:
    if wanted is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"expected {wanted.__name__}")


def _read_file(path: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CallerFault("bad_setting", f"The file named by DIGM_CONFIG cannot be read: {error}.") from error


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings: variables win over the file, the file over the defaults. An empty variable is unset.

    Raises:
        CallerFault: `bad_setting`; the sentence names the variable.
    """
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    chosen: dict[str, object] = _read_file(environ["DIGM_CONFIG"]) if environ.get("DIGM_CONFIG") else {}
    for name in chosen:
        if name not in fields:
            raise CallerFault("bad_setting", f"The file named by DIGM_CONFIG has an unknown setting, {name!r}.")
    for name in fields:
        if environ.get(variable_of(name)):
            chosen[name] = environ[variable_of(name)]
    return Settings(**{name: _convert(fields[name], value) for name, value in chosen.items()})

"""The browser as the player sees it: clocks, bytes, WebCrypto, HTTP, events. The only file that imports `js`.

Large bytes stay in JavaScript: a `JsBytes` is a view of a buffer there, and only what is asked for with
`bytes()` is copied. Nothing but `import js` may happen at module level here or in any module of `web`: the
build takes a picture of the interpreter's memory, and a JavaScript object cannot be in it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import js
from pyodide.ffi import JsException, create_proxy, to_js

from digm.errors import PeerFault, Unavailable


class JsBytes:
    """A range of bytes in JavaScript. Has `len()`, slices without copying, and `bytes()` with."""

    __slots__ = ("view",)

    def __init__(self, view: Any) -> None:
        self.view = view

    @classmethod
    def of(cls, buffer: Any) -> "JsBytes":
        """All of an ArrayBuffer."""
        return cls(js.Uint8Array.new(buffer))

    @classmethod
    def zeros(cls, size: int) -> "JsBytes":
        return cls(js.Uint8Array.new(size))

    def __len__(self) -> int:
        return int(self.view.byteLength)

    def __getitem__(self, part: slice) -> "JsBytes":
        start, stop, _ = part.indices(len(self))
        return JsBytes(self.view.subarray(start, stop))

    def __bytes__(self) -> bytes:
        return self.view.to_bytes()

    def write(self, at: int, source: "JsBytes") -> None:
        """Copy `source` to position `at`, inside JavaScript."""
        self.view.set(source.view, at)


def joined(parts: Sequence[JsBytes]) -> JsBytes:
    """Parts one behind the other; not copied where they lie like that in one buffer already."""
    size = sum(len(part) for part in parts)
    first, last = parts[0].view, parts[-1].view
    is_one = all(part.view.buffer.js_id == first.buffer.js_id for part in parts[1:])
    if is_one and last.byteOffset + last.byteLength - first.byteOffset == size:
        return JsBytes(js.Uint8Array.new(first.buffer, first.byteOffset, size))
    whole, at = JsBytes.zeros(size), 0
    for part in parts:
        whole.write(at, part)
        at += len(part)
    return whole


def js_bytes(data: bytes) -> Any:
    """A Uint8Array with a copy of `data`."""
    return to_js(data)


def js_object(**members: Any) -> Any:
    """A plain object; nested dicts and lists become objects and arrays."""
    return to_js(members, dict_converter=js.Object.fromEntries)


# -- time


def now_s() -> float:
    """Seconds on a steady clock, from the page's navigation."""
    return js.performance.now() / 1000


def wall_clock_s() -> float:
    """Seconds since 1970."""
    return js.Date.now() / 1000


# -- events


class Subscriptions:
    """Listeners on JavaScript objects, removed together."""

    def __init__(self) -> None:
        self._entries: list[tuple[Any, str, Any]] = []

    def on(self, target: Any, event: str, callback: Callable[[Any], None]) -> None:
        proxy = create_proxy(callback)
        target.addEventListener(event, proxy)
        self._entries.append((target, event, proxy))

    def close(self) -> None:
        for target, event, proxy in self._entries:
            target.removeEventListener(event, proxy)
            proxy.destroy()
        self._entries.clear()


async def next_event(target: Any, event: str) -> Any:
    """Wait for one event."""
    arrived: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    subscriptions = Subscriptions()
    subscriptions.on(target, event, lambda value: arrived.done() or arrived.set_result(value))
    try:
        return await arrived
    finally:
        subscriptions.close()


def lasting_proxy(callback: Callable[..., Any]) -> Any:
    """A function for JavaScript to keep; the owner calls `.destroy()`."""
    return create_proxy(callback)


# -- HTTP


async def fetch_frames(
    url: str,
    target: JsBytes,
    first_frame: int,
    *,
    is_whole: bool,
    is_fresh: bool,
    on_progress: Callable[[int], None],
) -> tuple[int, int]:
    """GET frames of a chunk into a buffer that is as long as they must be (static/digm-frames.js).

    Cancelling the task aborts the request.

    Args:
        is_whole: no Range header is needed.
        is_fresh: past the browser's cache.
        on_progress: told how many bytes have come so far, whenever a frame got complete.
    Returns:
        The HTTP status, and how many bytes the body has; more than `len(target)` means that it is too long.
        The body is only read when the status is the one that was asked for, 200 or 206.
    Raises:
        Unavailable: `network`, no answer or a body that broke off.
    """
    # Registered by static/digm-python.js; a module of JavaScript cannot be in the memory snapshot.
    from digm_page import fetchFrames

    abort = js.AbortController.new()
    how = js_object(first=first_frame, isWhole=is_whole, isFresh=is_fresh, signal=abort.signal)
    told = create_proxy(on_progress)
    try:
        answer = await fetchFrames(url, target.view, how, told)
        return int(answer.status), int(answer.received)
    except JsException as fault:
        raise Unavailable("network", "A source did not answer or broke off.") from fault
    except asyncio.CancelledError:
        abort.abort()
        raise
    finally:
        told.destroy()


# -- WebCrypto


async def sha256(data: JsBytes) -> bytes:
    return (await js.crypto.subtle.digest("SHA-256", data.view)).to_bytes()


def random_bytes(size: int) -> bytes:
    return js.crypto.getRandomValues(js.Uint8Array.new(size)).to_bytes()


async def aes_gcm_open(key: bytes, nonce: bytes, additional_data: bytes, sealed: bytes) -> bytes | None:
    """Open one short message (AES-256-GCM); None if it is not genuine."""
    subtle = js.crypto.subtle
    opener = await subtle.importKey("raw", to_js(key), "AES-GCM", False, to_js(["decrypt"]))
    how = js_object(name="AES-GCM", iv=nonce, additionalData=additional_data)
    try:
        return (await subtle.decrypt(how, opener, to_js(sealed))).to_bytes()
    except JsException:
        return None


async def open_frames(key: bytes, data: JsBytes, places: bytes) -> JsBytes:
    """Open consecutive frames of one chunk.

    Args:
        places: for each frame its nonce and its additional data.
    Returns:
        The plaintext of the frames in front of the first that is not genuine.
    """
    from digm_page import openFrames

    return JsBytes(await openFrames(to_js(key), data.view, to_js(places)))


async def diffie_hellman(private_key: Any, public_key: bytes, *, is_p256: bool = False) -> bytes:
    """RFC 7748 on X25519; ECDH on P-256.

    Raises:
        PeerFault: `bad_public_key`.
    """
    subtle = js.crypto.subtle
    named = {"name": "ECDH", "namedCurve": "P-256"} if is_p256 else {"name": "X25519"}
    try:
        other = await subtle.importKey("raw", to_js(public_key), js_object(**named), True, to_js([]))
        shared = await subtle.deriveBits(js_object(**named, public=other), private_key, 256)
    except JsException as fault:
        raise PeerFault("bad_public_key", "A public key that came is not one.") from fault
    return shared.to_bytes()


async def raw_public_key(key_pair: Any) -> bytes:
    return (await js.crypto.subtle.exportKey("raw", key_pair.publicKey)).to_bytes()


async def ed25519_verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Raises Unavailable `no_ed25519` where the browser lacks it."""
    subtle = js.crypto.subtle
    try:
        key = await subtle.importKey(
            "raw", to_js(public_key), js_object(name="Ed25519"), True, to_js(["verify"])
        )
    except JsException as fault:
        if fault.name == "NotSupportedError":
            raise _no_ed25519() from fault
        return False
    return bool(await subtle.verify("Ed25519", key, to_js(signature), to_js(message)))


async def ed25519_generate() -> Any:
    """A key pair whose private half cannot leave WebCrypto."""
    try:
        return await js.crypto.subtle.generateKey(js_object(name="Ed25519"), False, to_js(["sign", "verify"]))
    except JsException as fault:
        raise _no_ed25519() from fault


async def ed25519_sign(key_pair: Any, message: bytes) -> bytes:
    return (await js.crypto.subtle.sign("Ed25519", key_pair.privateKey, to_js(message))).to_bytes()


def _no_ed25519() -> Unavailable:
    return Unavailable(
        "no_ed25519", "This browser is too old to check an artist's signature. Update it to listen."
    )


# -- what this browser keeps (static/digm-cache.js); never raises: where nothing can be kept, nothing is there


async def held_chunks(hashes: Sequence[bytes]) -> list[bool]:
    """Which of these chunks are kept here; none of them is read."""
    from digm_page import heldChunks

    return (await heldChunks(to_js([name.hex() for name in hashes]))).to_py()


async def cached_chunk(name: bytes) -> JsBytes | None:
    """A chunk that was kept, its hash compared again; None when it is not there or not right any more."""
    from digm_page import cachedChunk

    data = await cachedChunk(name.hex())
    return JsBytes(data) if data else None


async def keep_chunk(name: bytes, data: JsBytes) -> tuple[bool, list[bytes]]:
    """Keep a verified chunk. Returns whether it is kept, and the names of those that had to go for it."""
    from digm_page import keepChunk

    result = await keepChunk(name.hex(), data.view)
    return bool(result.isKept), [bytes.fromhex(evicted) for evicted in result.evicted]


# -- WebRTC


def has_peer_connections() -> bool:
    return hasattr(js, "RTCPeerConnection")


def peer_connection(ice_servers: Sequence[dict[str, Any]], *, is_relay_only: bool = False) -> Any:
    """An RTCPeerConnection; relay only: it gathers no address of this machine."""
    policy = "relay" if is_relay_only else "all"
    return js.RTCPeerConnection.new(js_object(iceServers=list(ice_servers), iceTransportPolicy=policy))


async def gathered_sdp(connection: Any, patience_s: float) -> str:
    """The local description once its candidates are in it, or what there is of it by then."""
    try:
        async with asyncio.timeout(patience_s):
            while connection.iceGatheringState != "complete":
                await next_event(connection, "icegatheringstatechange")
    except TimeoutError:
        pass
    return str(connection.localDescription.sdp)


async def path_of(connection: Any) -> tuple[float | None, bool] | None:
    """Round trip in seconds, and whether a relay carries it; None while there is no path."""
    report = await connection.getStats()
    entries = {}
    for entry in report.values():
        if entry.type in ("transport", "candidate-pair", "local-candidate", "remote-candidate"):
            entries[entry.id] = entry
    chosen = [getattr(e, "selectedCandidatePairId", None) for e in entries.values() if e.type == "transport"]
    # Firefox has no transport report; it marks the pair itself.
    chosen += [e.id for e in entries.values() if e.type == "candidate-pair" and getattr(e, "selected", False)]
    pair = next((entries[id] for id in chosen if id in entries), None)
    if pair is None:
        return None
    ends = [entries.get(pair.localCandidateId), entries.get(pair.remoteCandidateId)]
    is_relayed = any(end is not None and end.candidateType == "relay" for end in ends)
    rtt_s = getattr(pair, "currentRoundTripTime", None)
    return (None if rtt_s is None else float(rtt_s)), is_relayed


# -- the machine


class Machine:
    """What the browser says about the connection and the battery; where it says nothing, nothing is assumed.

    Attributes:
        saves_data: the visitor asked for less data.
        is_metered: on a cellular connection.
        battery: charge 0.0 to 1.0 while it is not charging; None otherwise.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.saves_data = False
        self.is_metered = False
        self.battery: float | None = None
        self._on_change = on_change
        self._subscriptions = Subscriptions()
        self._network = getattr(js.navigator, "connection", None)
        if self._network is not None:
            self._subscriptions.on(self._network, "change", lambda _: self._look())
            self._read_network()
        self._finding = asyncio.ensure_future(self._find_battery())

    def close(self) -> None:
        self._finding.cancel()
        self._subscriptions.close()

    def _look(self) -> None:
        self._read_network()
        self._on_change()

    def _read_network(self) -> None:
        self.saves_data = bool(getattr(self._network, "saveData", False))
        self.is_metered = getattr(self._network, "type", None) == "cellular"

    async def _find_battery(self) -> None:
        if not hasattr(js.navigator, "getBattery"):
            return
        try:
            battery = await js.navigator.getBattery()
        except JsException:  # a permissions policy forbids it, as in an embed
            return

        def read(_event: Any = None) -> None:
            self.battery = None if battery.charging else float(battery.level)
            self._on_change()

        for event in ("levelchange", "chargingchange"):
            self._subscriptions.on(battery, event, read)
        read()


def promise_error(fault: BaseException) -> str:
    """What a browser called its own exception: "NotSupportedError", ...; empty for anything else."""
    return getattr(fault, "name", "") if isinstance(fault, JsException) else ""


BrowserError = JsException


# -- media


def supports(mime: str) -> bool:
    """Whether this browser's media source takes a type."""
    media_source = js.MediaSource if hasattr(js, "MediaSource") else js.ManagedMediaSource
    return bool(media_source.isTypeSupported(mime))


def ranges(time_ranges: Any) -> list[tuple[float, float]]:
    """TimeRanges as (start, end) in seconds."""
    return [(time_ranges.start(i), time_ranges.end(i)) for i in range(time_ranges.length)]

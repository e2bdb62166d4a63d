"""Our yamux against itself, against py-libp2p's, and against frames that nobody honest sends; in memory."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)
from libp2p.stream_muxer.yamux.yamux import Yamux as LibraryYamux
from structlog.testing import capture_logs

import hub.backbone.yamux_stream as yamux_stream
from hub.backbone.settings import BackboneSettings
from hub.backbone.yamux import HEADER, Yamux
from hub.backbone.yamux_stream import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    MOST_WINDOW_BYTES,
    PING,
    RST,
    SYN,
    WINDOW,
    WINDOW_BYTES,
    YamuxStream,
)

SETTINGS = BackboneSettings()
PEER = ID(b"\0\x24\x08\x01\x12\x20" + bytes(32))
PATIENCE_S = 20.0


class Link:
    """One end of a connection, in place of a noise session."""

    def __init__(self, stream: Any, is_initiator: bool) -> None:
        self.stream = stream
        self.is_initiator = is_initiator

    async def read(self, n: int | None = None) -> bytes:
        try:
            return bytes(await self.stream.receive_some(n))
        except trio.ClosedResourceError:
            return b""

    async def write(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def close(self) -> None:
        await self.stream.aclose()


Pair = tuple[Any, Any]


@asynccontextmanager
async def pair(
    first: Callable[[Any, ID], Any] = Yamux,
    ends: Callable[[], tuple[Any, Any]] = trio.testing.memory_stream_pair,
) -> AsyncIterator[Pair]:
    """Two muxers with a link between them."""
    ours, theirs = ends()
    left, right = first(Link(ours, True), PEER), Yamux(Link(theirs, False), PEER, SETTINGS)  # type: ignore[arg-type]
    async with trio.open_nursery() as tasks:
        for muxer in (left, right):
            tasks.start_soon(muxer.start)
            await muxer.event_started.wait()
        yield left, right
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def raw_peer() -> AsyncIterator[tuple[Any, Yamux]]:
    """A muxer, and the other end of its link to put frames on."""
    ours, theirs = trio.testing.memory_stream_pair()
    muxer = Yamux(Link(theirs, False), PEER, SETTINGS)  # type: ignore[arg-type]
    async with trio.open_nursery() as tasks:
        tasks.start_soon(muxer.start)
        yield ours, muxer
        tasks.cancel_scope.cancel()


def within_patience(function: Callable[..., Awaitable[None]], *args: Any) -> None:
    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            await function(*args)

    trio.run(main)


async def opened(left: Any, right: Any) -> tuple[Any, YamuxStream]:
    stream = await left.open_stream()
    await stream.write(b"!")
    accepted = await right.accept_stream()
    assert await accepted.read(1) == b"!"
    return stream, accepted


async def read_all(stream: Any) -> bytes:
    whole = bytearray()
    while True:
        try:
            whole += await stream.read(10_000)
        except MuxedStreamEOF:
            return bytes(whole)


async def send_and_end(stream: Any, data: bytes) -> None:
    await stream.write(data)
    await stream.close()


@pytest.mark.parametrize("kind", [Yamux, LibraryYamux])
def test_megabytes_cross_both_ways_at_once_and_each_side_ends_by_itself(kind: Any) -> None:
    there, back = bytes(range(256)) * 12_000, bytes(range(255, -1, -1)) * 12_000
    got: dict[str, bytes] = {}

    async def collect(name: str, stream: Any) -> None:
        got[name] = await read_all(stream)

    async def run() -> None:
        async with pair(kind) as (left, right):
            stream, accepted = await opened(left, right)
            async with trio.open_nursery() as tasks:
                tasks.start_soon(send_and_end, stream, there)
                tasks.start_soon(send_and_end, accepted, back)
                tasks.start_soon(collect, "there", accepted)
                tasks.start_soon(collect, "back", stream)
            assert not right.streams  # over both ways: forgotten

    within_patience(run)
    assert (got["there"], got["back"]) == (there, back)


@pytest.mark.parametrize("kind", [Yamux, LibraryYamux])
def test_a_side_that_has_ended_still_gets_its_answer(kind: Any) -> None:
    async def run() -> None:
        async with pair(kind) as (left, right):
            stream, accepted = await opened(left, right)
            await send_and_end(stream, b"question")
            assert await read_all(accepted) == b"question"
            await send_and_end(accepted, b"answer")
            assert await read_all(stream) == b"answer"

    within_patience(run)


def test_who_sends_waits_for_the_window_and_goes_on_when_the_reader_does() -> None:
    async def run() -> None:
        async with pair() as (left, right):
            stream, accepted = await opened(left, right)
            async with trio.open_nursery() as tasks:
                tasks.start_soon(send_and_end, stream, bytes(WINDOW_BYTES + 100_000))
                await trio.testing.wait_all_tasks_blocked()
                assert len(accepted.unread) == WINDOW_BYTES - 1  # one was read when it was opened
                assert len(await read_all(accepted)) == WINDOW_BYTES + 100_000

    within_patience(run)


def test_a_window_grows_for_who_fills_it_up_to_a_bound() -> None:
    async def run() -> None:
        async with pair() as (left, right):
            stream, accepted = await opened(left, right)
            async with trio.open_nursery() as tasks:
                tasks.start_soon(stream.write, bytes(8 * MOST_WINDOW_BYTES))
                got = 0
                while got < 4 * MOST_WINDOW_BYTES:
                    got += len(await accepted.read(65_536))
                await trio.testing.wait_all_tasks_blocked()
                # What was read and not given back yet is at most half a window.
                assert MOST_WINDOW_BYTES // 2 <= len(accepted.unread) <= MOST_WINDOW_BYTES
                tasks.cancel_scope.cancel()

    within_patience(run)


def test_a_peer_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamux_stream, "STALLED_S", 0.05)

    async def run() -> None:
        async with pair() as (left, right):
            stream, _ = await opened(left, right)
            with pytest.raises(MuxedStreamError):
                await stream.write(bytes(2 * WINDOW_BYTES))

    within_patience(run)


def test_a_write_that_is_cancelled_leaves_the_connection_whole() -> None:
    async def run() -> None:
        async with pair(ends=trio.testing.lockstep_stream_pair) as (left, right):
            first, _ = await opened(left, right)
            for _ in range(20):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await first.write(b"cancelled")
            second, accepted = await opened(left, right)
            await send_and_end(second, b"whole")
            assert await read_all(accepted) == b"whole"

    within_patience(run)


def test_both_may_send_more_than_the_link_takes_while_neither_reads() -> None:
    async def run() -> None:
        async with pair(ends=trio.testing.lockstep_stream_pair) as (left, right):
            stream, accepted = await opened(left, right)
            async with trio.open_nursery() as tasks:
                tasks.start_soon(stream.write, bytes(200_000))
                tasks.start_soon(accepted.write, bytes(200_000))
                for _ in range(40):  # each wants an answer of the other's reader
                    tasks.start_soon(left.open_stream)
                    tasks.start_soon(right.open_stream)

    within_patience(run)


def test_a_reset_wakes_who_reads_and_who_writes() -> None:
    async def run() -> None:
        async with pair() as (left, right):
            stream, accepted = await opened(left, right)

            async def ends(work: Callable[..., Awaitable[object]], *args: Any) -> None:
                with pytest.raises(MuxedStreamReset):
                    await work(*args)

            async with trio.open_nursery() as tasks:
                tasks.start_soon(ends, accepted.read)
                tasks.start_soon(ends, accepted.write, bytes(2 * WINDOW_BYTES))
                await trio.testing.wait_all_tasks_blocked()
                await stream.reset()
            assert not left.streams and not right.streams
            await ends(stream.read)
            await ends(stream.write, b"more")

    within_patience(run)


def test_what_came_before_the_end_can_be_read_after_it() -> None:
    async def run() -> None:
        async with pair() as (left, right):
            stream, accepted = await opened(left, right)
            await send_and_end(stream, b"last words")
            await trio.testing.wait_all_tasks_blocked()
            await left.close()
            await right.event_closed.wait()
            assert await read_all(accepted) == b"last words"
            with pytest.raises(MuxedStreamClosed):
                await stream.write(b"more")

    within_patience(run)


def test_when_one_side_hangs_up_everybody_on_the_other_is_told() -> None:
    told: list[str] = []

    async def hear() -> None:
        told.append("closed")

    async def run() -> None:
        async with pair() as (left, right):
            _, accepted = await opened(left, right)
            right.on_close = hear

            async def wait_for_streams() -> None:
                with pytest.raises(MuxedConnUnavailable):
                    await right.accept_stream()

            async with trio.open_nursery() as tasks:
                tasks.start_soon(wait_for_streams)
                await left.close()
            with pytest.raises(MuxedStreamReset):
                await accepted.read()
            await right.event_closed.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert told == ["closed"]
            with pytest.raises(MuxedStreamError):
                await right.open_stream()

    within_patience(run)


def test_a_round_trip_is_measured() -> None:
    async def run() -> None:
        async with pair() as (left, _):
            while not left.rtt():
                await trio.sleep(0.02)
            assert 0 < left.rtt() < 5

    within_patience(run)


OVERRUN = HEADER.pack(0, DATA, SYN, 1, WINDOW_BYTES + 1)
BROKEN = {
    "muxer_frame": [HEADER.pack(1, DATA, 0, 1, 0), HEADER.pack(0, 4, 0, 1, 0), b"\xff" * 12],
    "muxer_stream": [
        HEADER.pack(0, WINDOW, SYN, 0, 0),
        HEADER.pack(0, WINDOW, SYN, 2, 0),  # an even one is ours to open
        HEADER.pack(0, WINDOW, SYN, 1, 0) * 2,
    ],
    "muxer_overrun": [OVERRUN, HEADER.pack(0, DATA, SYN, 1, 200_000) + bytes(200_000) + OVERRUN],
    "muxer_flood": [HEADER.pack(0, PING, SYN, 0, 7) * 5_000],
}


@pytest.mark.parametrize(
    ("code", "frames"), [(code, frames) for code, all_ in BROKEN.items() for frames in all_]
)
def test_who_breaks_the_rules_loses_the_connection(code: str, frames: bytes) -> None:
    async def run() -> None:
        async with raw_peer() as (peer, muxer):
            await peer.send_all(frames)
            await muxer.event_closed.wait()

    with capture_logs() as logs:
        within_patience(run)
    assert [line["code"] for line in logs if line["event"] == "muxer_fault"] in ([code], ["muxer_stream"])


def test_unread_bytes_of_a_connection_are_bounded_whatever_the_windows_say() -> None:
    block = bytes(WINDOW_BYTES)

    async def run() -> None:
        async with raw_peer() as (peer, muxer):
            with suppress(trio.BrokenResourceError):
                for number in range(1, 100, 2):
                    await peer.send_all(HEADER.pack(0, DATA, SYN, number, len(block)) + block)
            await muxer.event_closed.wait()

    with capture_logs() as logs:
        within_patience(run)
    assert [line["code"] for line in logs if line["event"] == "muxer_fault"] == ["muxer_overrun"]


def test_streams_beyond_the_bound_are_reset_and_the_others_live() -> None:
    most = SETTINGS.most_streams_per_connection

    async def run() -> None:
        async with raw_peer() as (peer, muxer):
            for number in range(most):
                await peer.send_all(HEADER.pack(0, WINDOW, SYN, 2 * number + 1, 0))
            first, *_ = [await muxer.accept_stream() for _ in range(most)]
            for number in range(most, most + 10):
                await peer.send_all(HEADER.pack(0, WINDOW, SYN, 2 * number + 1, 0))
            await trio.testing.wait_all_tasks_blocked()
            answers = bytes(await peer.receive_some(100_000))
            flags = [HEADER.unpack_from(answers, at)[2] for at in range(0, len(answers), HEADER.size)]
            assert flags == [ACK] * most + [RST] * 10
            await peer.send_all(HEADER.pack(0, DATA, FIN, 1, 2) + b"hi")
            assert await read_all(first) == b"hi"

    within_patience(run)


def test_frames_are_understood_a_byte_at_a_time_and_those_of_forgotten_streams_passed_over() -> None:
    frames = (
        HEADER.pack(0, DATA, 0, 99, 5)  # of a stream that is over
        + b"stray"
        + HEADER.pack(0, WINDOW, FIN, 97, 0)
        + HEADER.pack(0, DATA, SYN, 1, 3)
        + b"abc"
        + HEADER.pack(0, DATA, FIN, 1, 4)
        + b"defg"
        + HEADER.pack(0, PING, ACK, 0, 9)  # nobody asked
        + HEADER.pack(0, GO_AWAY, 0, 0, 0)
    )

    async def run() -> None:
        async with raw_peer() as (peer, muxer):
            for byte in frames[:-1]:
                await peer.send_all(bytes([byte]))
            assert await read_all(await muxer.accept_stream()) == b"abcdefg"
            await peer.send_all(frames[-1:])
            await muxer.event_closed.wait()

    within_patience(run)

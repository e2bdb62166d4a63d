"""QUIC connections without a network: loss, windows, limits and clocks, in no time."""

import random

import pytest
import trio
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamReset,
)

from hub.backbone.quic import bounded
from hub.backbone.quic.bounded import IDLE_TIMEOUT_S
from hub.backbone.quic.stream import STALLED_S, STEP_BYTES, QuicStream
from tests.hub.backbone.quic.line import CALLER, MOST_STREAMS, Line, Pair, joined

BYTES = random.Random(2).randbytes(600_000)
# Windows as they are, but smaller: aioquic takes a second for a megabyte, both ends together.
FIRST_STREAM_BYTES, MOST_STREAM_BYTES = 128 * 1024, 256 * 1024
FIRST_CONNECTION_BYTES, MOST_CONNECTION_BYTES = 256 * 1024, 512 * 1024


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bounded.FIRST_STREAM_BYTES < bounded.MOST_STREAM_BYTES < bounded.MOST_CONNECTION_BYTES
    for name in ("FIRST_STREAM_BYTES", "MOST_STREAM_BYTES", "FIRST_CONNECTION_BYTES", "MOST_CONNECTION_BYTES"):
        monkeypatch.setattr(bounded, name, globals()[name])


async def everything(stream: QuicStream) -> bytes:
    got = bytearray()
    while True:
        try:
            got += await stream.read(50_000)
        except MuxedStreamEOF:
            return bytes(got)


async def say(stream: QuicStream, data: bytes) -> None:
    await stream.write(data)
    await stream.close_write()


@pytest.mark.parametrize(("lost", "longest_s"), [(0.0, 0.01), (0.05, 0.05)], ids=["a good line", "a bad line"])
def test_what_is_written_arrives_whole_both_ways_at_once(lost: float, longest_s: float) -> None:
    async def talk(pair: Pair) -> None:
        async def echo() -> None:
            while True:
                nursery.start_soon(answer, await pair.called.accept_stream())

        async def answer(stream: QuicStream) -> None:
            await say(stream, (await everything(stream))[::-1])

        async def ask(data: bytes) -> None:
            stream = await pair.caller.open_stream()
            await say(stream, data)
            assert await everything(stream) == data[::-1]
            await stream.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo)
            async with trio.open_nursery() as asking:
                for start in range(4 * MOST_STREAMS):  # more than may be open at once
                    asking.start_soon(
                        ask, BYTES[start * 1_000 : start * 1_000 + (200_000 if start < 4 else 3_000)]
                    )
            nursery.cancel_scope.cancel()

    joined(Line(lost, (0.01, longest_s)), talk)


def test_both_sides_know_whose_connection_it_is() -> None:
    async def talk(pair: Pair) -> None:
        assert pair.called.peer_id == ID.from_pubkey(CALLER.public_key)
        assert pair.caller.is_established and pair.called.is_established
        assert pair.caller.is_initiator and not pair.called.is_initiator
        assert 0.01 < pair.caller.rtt() < 0.2

    joined(Line(), talk)


def test_who_reaches_somebody_else_hangs_up() -> None:
    async def talk(pair: Pair) -> None:
        await pair.called.event_closed.wait()
        assert not pair.caller.is_established and pair.caller.is_closed

    joined(Line(), talk, expected=ID.from_pubkey(CALLER.public_key))


def test_nobody_can_send_more_ahead_of_a_reader_than_was_read_before() -> None:
    async def talk(pair: Pair) -> None:
        async with trio.open_nursery() as writer:
            size = 8 * MOST_STREAM_BYTES
            writer.start_soon(say, await pair.caller.open_stream(), bytes(size))
            stream = await pair.called.accept_stream()
            await trio.sleep(20)
            assert len(stream.unread) == FIRST_STREAM_BYTES
            while size > 3 * MOST_STREAM_BYTES:
                size -= len(await stream.read(50_000))
            await trio.sleep(20)
            assert MOST_STREAM_BYTES - 2 * 65_536 < len(stream.unread) <= MOST_STREAM_BYTES
            assert len(await everything(stream)) == size

    joined(Line(), talk)


def test_the_streams_of_a_connection_share_a_window() -> None:
    async def talk(pair: Pair) -> None:
        size = 2 * MOST_STREAM_BYTES
        for most in (FIRST_CONNECTION_BYTES, MOST_CONNECTION_BYTES):
            begin, whole = trio.Event(), list[int]()

            async def read(begin: trio.Event = begin, whole: list[int] = whole) -> None:
                stream = await pair.called.accept_stream()
                await begin.wait()
                whole.append(len(await everything(stream)))
                await stream.close()

            async with trio.open_nursery() as tasks:
                for _ in range(MOST_STREAMS):
                    tasks.start_soon(say, await pair.caller.open_stream(), bytes(size))
                    tasks.start_soon(read)
                await trio.sleep(10)
                waiting = sum(len(stream.unread) for stream in pair.called._streams.values())
                assert most - 2 * 65_536 < waiting <= most
                begin.set()
            assert whole == [size] * MOST_STREAMS

    joined(Line(), talk)


def test_what_comes_on_a_stream_that_was_closed_here_takes_no_memory_and_no_window() -> None:
    async def talk(pair: Pair) -> None:
        for _ in range(3 * FIRST_CONNECTION_BYTES // FIRST_STREAM_BYTES):
            stream = await pair.caller.open_stream()
            await stream.write(bytes(STEP_BYTES))
            unwanted = await pair.called.accept_stream()
            await unwanted.close()
            with pytest.raises(MuxedStreamClosed):
                for _ in range(100):
                    await stream.write(bytes(STEP_BYTES))
            await stream.reset()
            await trio.sleep(1)
            assert not unwanted.unread
        assert len(pair.called._streams) <= 1

    joined(Line(), talk)


def test_more_streams_than_allowed_wait_until_one_is_over() -> None:
    async def talk(pair: Pair) -> None:
        streams = [await pair.caller.open_stream() for _ in range(MOST_STREAMS)]
        for stream in streams:
            await stream.write(b"hello")
        accepted = [await pair.called.accept_stream() for _ in streams]
        with trio.move_on_after(10) as scope:
            await pair.caller.open_stream()
        assert scope.cancelled_caught
        for stream in (accepted[0], streams[0]):
            await stream.close()
        with trio.fail_after(1):
            await (await pair.caller.open_stream()).write(b"hello again")
            assert await (await pair.called.accept_stream()).read(50) == b"hello again"

    joined(Line(), talk)


def test_a_reset_ends_reading_and_writing_on_the_other_side() -> None:
    async def talk(pair: Pair) -> None:
        stream = await pair.caller.open_stream()
        await stream.write(b"hello")
        other = await pair.called.accept_stream()
        assert await other.read() == b"hello"
        await stream.reset()
        with pytest.raises(MuxedStreamReset):
            await other.read(1)
        with pytest.raises(MuxedStreamClosed):
            await other.write(b"x")

    joined(Line(), talk)


def test_a_peer_that_takes_nothing_is_not_written_to_for_ever() -> None:
    async def talk(pair: Pair) -> None:
        stream = await pair.caller.open_stream()
        began = trio.current_time()
        with pytest.raises(MuxedStreamReset):
            await stream.write(bytes(2 * MOST_STREAM_BYTES))
        assert trio.current_time() - began < 2 * STALLED_S

    joined(Line(), talk)


def test_a_silent_connection_stays_and_a_dead_one_is_missed() -> None:
    async def talk(pair: Pair) -> None:
        accepting = pair.called.accept_stream()
        await trio.sleep(600)
        assert pair.caller.is_established and pair.called.is_established
        pair.line.is_cut = True
        with trio.fail_after(2 * IDLE_TIMEOUT_S), pytest.raises(MuxedConnUnavailable):
            await accepting
        assert pair.caller.is_closed
        with pytest.raises(MuxedConnUnavailable):
            await pair.caller.open_stream()

    joined(Line(), talk)


def test_who_hangs_up_says_so() -> None:
    async def talk(pair: Pair) -> None:
        stream = await pair.called.open_stream()
        await pair.caller.close()
        with trio.fail_after(1):
            await pair.called.event_closed.wait()
        with pytest.raises(MuxedStreamReset):
            await stream.read(1)

    joined(Line(), talk)

"""Attacks on the DHT."""

import hashlib
import os
from typing import Any

import trio
from libp2p.kad_dht.pb.kademlia_pb2 import Message

from tests.hub.backbone.attacks.victim import Victim, prefixed, shrug

KAD = "/ipfs/kad/1.0.0"


async def idle_kad_streams(victim: Victim) -> None:
    """Twelve idle streams hold a default DHT for a minute."""

    async def begin(host: Any) -> None:
        for _ in range(60):
            with trio.move_on_after(1.0):
                await shrug(victim.stream, host, KAD)

    await victim.hold(begin)


async def kad_garbage(victim: Victim) -> None:
    """Messages that do not decode, announce 4 GiB, name peers that are none, or ask for nothing."""
    nonsense = Message(type=Message.MessageType.ADD_PROVIDER, key=b"k")
    nonsense.providerPeers.add(id=b"\xff\xff", addrs=[os.urandom(20)])
    unknown = Message(type=Message.MessageType.FIND_NODE, key=b"")
    openings = [
        b"\xff\xff\xff\xff\x0f",
        prefixed(os.urandom(300)),
        prefixed(b""),
        b"\x80" * 12,
        prefixed(nonsense.SerializeToString()),
        prefixed(unknown.SerializeToString()),
        prefixed(Message(type=Message.MessageType.GET_PROVIDERS, key=os.urandom(70_000)).SerializeToString()),
        prefixed(b"\x08\x7f"),
    ]
    async with victim.connected() as host:
        for opening in openings * 5:
            stream = await shrug(victim.stream, host, KAD)
            if not isinstance(stream, Exception):
                await shrug(stream.write, opening)
                await shrug(stream.close)


async def provider_flood(victim: Victim) -> None:
    """Says that it provides thousands of things."""
    async with victim.connected() as host:
        stream = await victim.stream(host, KAD)
        for number in range(3_000):
            message = Message(type=Message.MessageType.ADD_PROVIDER, key=os.urandom(34))
            message.providerPeers.add(id=host.get_id().to_bytes(), addrs=[])
            if isinstance(await shrug(stream.write, prefixed(message.SerializeToString())), Exception):
                stream = await shrug(victim.stream, host, KAD)
                if isinstance(stream, Exception) or number > 2_000:
                    return


async def poisoned_values(victim: Victim) -> None:
    """Stores values under keys that nobody checks."""
    async with victim.connected() as host:
        for number in range(30):
            key = b"/nobody/" + str(number).encode()
            message = Message(type=Message.MessageType.PUT_VALUE, key=key)
            message.record.key, message.record.value = key, os.urandom(100_000)
            stream = await shrug(victim.stream, host, KAD)
            if not isinstance(stream, Exception):
                await shrug(stream.write, prefixed(message.SerializeToString()))
                with trio.move_on_after(0.2):
                    await shrug(stream.read, 100)
                await shrug(stream.close)
        stream = await shrug(victim.stream, host, KAD)
        ask = Message(type=Message.MessageType.GET_VALUE, key=b"/nobody/7")
        await stream.write(prefixed(ask.SerializeToString()))
        answer = b""
        with trio.move_on_after(3):
            answer = await shrug(stream.read, 70_000)
        if isinstance(answer, bytes) and len(answer) > 50_000:
            raise SystemExit("an unchecked value was kept")


async def lying_providers(victim: Victim) -> None:
    """Names itself, the victim and the dead as providers, at addresses where nobody listens."""
    key = b"\x12\x20" + hashlib.sha256(b"lies").digest()
    async with victim.connected() as host:
        for name in (
            host.get_id().to_bytes(),
            victim.peer.to_bytes(),
            b"\x00\x24\x08\x01\x12\x20" + os.urandom(32),
        ):
            message = Message(type=Message.MessageType.ADD_PROVIDER, key=key)
            message.providerPeers.add(id=name, addrs=[b"\x04\x7f\x00\x00\x01\x06\x00\x01"])
            stream = await shrug(victim.stream, host, KAD)
            if not isinstance(stream, Exception):
                await shrug(stream.write, prefixed(message.SerializeToString()))
                await shrug(stream.close)
        await trio.sleep(0.2)


ATTACKS = (idle_kad_streams, kad_garbage, provider_flood, poisoned_values, lying_providers)

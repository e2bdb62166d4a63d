"""Attacks on GossipSub. The text of a message says whether the victim may ever hear it."""

import os
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

from digm.backbone_messages import TOPIC
from tests.hub.backbone.attacks.victim import Victim, prefixed, shrug

MESHSUB = "/meshsub/1.1.0"
SIGNING = b"libp2p-pubsub:"


def message(pair: Any, text: bytes, **changes: Any) -> rpc_pb2.Message:
    """A message that its author signed; what `changes` says is changed afterwards."""
    author = ID.from_pubkey(pair.public_key).to_bytes()
    made = rpc_pb2.Message(data=text, topicIDs=[TOPIC], from_id=author, seqno=os.urandom(8))
    made.signature = pair.private_key.sign(SIGNING + made.SerializeToString())
    made.key = pair.public_key.serialize()
    for name, value in changes.items():
        setattr(made, name, value)
    return made


async def send(victim: Victim, host: Any, messages: list[rpc_pb2.Message]) -> None:
    stream = await shrug(victim.stream, host, MESHSUB)
    if isinstance(stream, Exception):
        return
    hello = rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=TOPIC)])
    await shrug(stream.write, prefixed(hello.SerializeToString()))
    for each in messages:
        if isinstance(
            await shrug(stream.write, prefixed(rpc_pb2.RPC(publish=[each]).SerializeToString())), Exception
        ):
            return
    await trio.sleep(0.3)


async def meshsub_garbage(victim: Victim) -> None:
    """Bytes that are no RPC, lengths that lie, control messages without sense."""
    control = rpc_pb2.RPC(senderRecord=os.urandom(80))
    control.control.graft.add(topicID="\u2603" * 50)
    control.control.prune.add(topicID=TOPIC, backoff=2**63)
    control.control.ihave.add(topicID=TOPIC, messageIDs=["\u2603".encode()] * 2_000)
    control.control.iwant.add(messageIDs=[b"nonsense", b"\xff'", b"[]"] * 500)
    unsigned = rpc_pb2.RPC()
    unsigned.control.CopyFrom(control.control)
    openings = [
        os.urandom(2_000),
        b"\xff" * 12,
        b"\xff\xff\xff\xff\x0f",
        prefixed(os.urandom(100)),
        prefixed(control.SerializeToString()),
        prefixed(unsigned.SerializeToString()),
        prefixed(b""),
    ]
    for opening in openings * 3:
        async with victim.connected() as host:
            stream = await shrug(victim.stream, host, MESHSUB)
            if not isinstance(stream, Exception):
                await shrug(stream.write, opening)
                await trio.sleep(0.02)


async def undecodable_sender(victim: Victim) -> None:
    """Keys, authors and topics that do not decode."""
    pair = create_new_key_pair()
    async with victim.connected() as host:
        await send(
            victim,
            host,
            [
                message(pair, b"forged key", key=b"\xff\xff\xff", from_id=b"\x12\x20" + os.urandom(32)),
                message(pair, b"forged key", key=b"", from_id=b""),
                message(pair, b"forged author", from_id=os.urandom(3)),
                message(pair, b"forged author", from_id=b"\x00\x24" + bytes(36)),
                message(pair, b"forged key", key=b"\x08\x63\x12\x02hi", from_id=b"\x12\x20" + bytes(32)),
                message(pair, b"forged signature", signature=b"\x01" * 3),
            ]
            * 5,
        )


async def forged_gossip(victim: Victim) -> None:
    """In another's name, changed on the way, unsigned, or in the victim's own name."""
    pair, other = create_new_key_pair(), create_new_key_pair()
    stolen = ID.from_pubkey(other.public_key).to_bytes()
    async with victim.connected() as host:
        await send(
            victim,
            host,
            [
                message(pair, b"forged author", from_id=stolen),
                message(pair, b"true", data=b"forged text"),
                message(pair, b"forged: unsigned", signature=b""),
                message(pair, b"forged number", seqno=b"1", signature=os.urandom(64)),
                message(pair, b"forged: the victim's", from_id=victim.peer.to_bytes()),
            ],
        )


async def replayed_gossip(victim: Victim) -> None:
    """One honest message, a thousand times, by several hands."""
    honest = message(create_new_key_pair(), b"said once " + os.urandom(4).hex().encode())
    for _ in range(3):
        async with victim.connected() as host:
            await send(victim, host, [honest] * 330)


async def invalid_gossip(victim: Victim) -> None:
    """What the verdict calls invalid, and what is too long: the sender is no longer listened to."""
    pair = create_new_key_pair()
    async with victim.connected() as host:
        await send(victim, host, [message(pair, b"lie " + bytes(2_000)) for _ in range(100)])
        await send(victim, host, [message(pair, b"forged: too long" + bytes(20_000)) for _ in range(3)])
        await send(victim, host, [message(pair, b"forged: from one who lied")])


async def gossip_flood(victim: Victim) -> None:
    """Well signed messages by the thousand, and subscriptions to thousands of topics."""
    pair = create_new_key_pair()
    async with victim.connected() as host:
        await send(victim, host, [message(pair, b"flood " + bytes(500)) for _ in range(600)])
        stream = await shrug(victim.stream, host, MESHSUB)
        if isinstance(stream, Exception):
            return
        for number in range(100):
            many = rpc_pb2.RPC(
                subscriptions=[
                    rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"topic {number} {n}") for n in range(60)
                ]
            )
            if isinstance(await shrug(stream.write, prefixed(many.SerializeToString())), Exception):
                return


ATTACKS = (meshsub_garbage, undecodable_sender, forged_gossip, replayed_gossip, invalid_gossip, gossip_flood)

"""A hostile program: `python -m tests.hub.backbone.attacks.attacker NAME TCP WEBSOCKET TRACKROOT`.

It attacks once for every line on stdin and says `done` after each. The attacks are the functions of the modules
beside this one, by their names; each stands for one line of docs/threats.md.
"""

import sys
from collections.abc import Awaitable, Callable

import trio

from tests.hub.backbone.attacks import gossip, kad, muxer, sockets, streams
from tests.hub.backbone.attacks.victim import Victim

ATTACKS: dict[str, Callable[[Victim], Awaitable[None]]] = {
    attack.__name__: attack for module in (sockets, muxer, streams, kad, gossip) for attack in module.ATTACKS
}
ATTACK_WITHIN_S = 40.0


async def main() -> None:
    async with trio.open_nursery() as nursery:
        victim = Victim(sys.argv[2], sys.argv[3], bytes.fromhex(sys.argv[4]), nursery)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            with trio.move_on_after(ATTACK_WITHIN_S):
                await ATTACKS[sys.argv[1]](victim)
            print("done", flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)

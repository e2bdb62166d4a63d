"""What `digm up` does on its devnet: accounts, stakes and the demo, each once, whoever is killed meanwhile."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from hub.backbone.identity import NodeIdentity
from hub.chain.amounts import UNIT
from hub.chain.deployment import FILE_NAME as DEPLOYMENT_FILE
from hub.chain.deployment import contract, load_deployment
from hub.chain.ordering import state_now
from hub.config import Settings
from hub.neighbours import places_of
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.house import publish_track

WITHIN_S = 120
KILLS = 6


def settle_in(devnet: DevnetProcess, root: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "hub.cli", "chain", "settle-in", "--nodes", "2", root],
        env={**os.environ, "DIGM_DATA": str(devnet.data), "DIGM_CHAIN_PORT": str(devnet.port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_everybody_gets_everything_once_although_both_processes_are_killed_again_and_again(
    tmp_path: Path,
) -> None:
    dice, root = random.Random(3), publish_track(tmp_path).root
    for place in places_of(tmp_path, 2):
        NodeIdentity.load(place)
    devnet = DevnetProcess(tmp_path, with_contracts=True)
    for number in range(KILLS):
        process = settle_in(devnet, root)
        time.sleep(dice.uniform(1, 3))  # when is the very thing that is drawn
        victim = devnet if number % 2 else process
        victim.kill()
        process.kill()
        process.communicate()
        if victim is devnet:
            devnet.start()
    with settle_in(devnet, root) as last:
        said, why = last.communicate(timeout=WITHIN_S)
    assert last.returncode == 0, why
    found = json.loads(said)

    deployed = load_deployment(tmp_path / "chain" / DEPLOYMENT_FILE)
    assert all(
        load_deployment(place / "chain" / DEPLOYMENT_FILE) == deployed for place in places_of(tmp_path, 2)
    )

    def held(part: str, address: str) -> int:
        data = "0x" + contract(part).call_data("balanceOf", [address]).hex()
        return int(
            devnet.ask("eth_call", {"to": deployed.addresses[part], "data": data}, "latest")["result"], 16
        )

    def sent(address: str) -> int:
        return int(devnet.ask("eth_getTransactionCount", address, "latest")["result"], 16)

    state = asyncio.run(state_now(Settings(data=tmp_path, chain_port=devnet.port)))
    (order,) = state.pins.orders.values()
    assert order.replicas == 2 and held("para", found["artist"]) == 100_000 * UNIT - order.paid_in * 101 // 100
    assert [one.said.track_root.hex() for one in state.tracks] == [root]
    assert sent(found["artist"]) == 4  # key, track, allowance, order
    keys = {node.address: node.node_key for node in state.pins.nodes.values()}
    for address, place in zip(found["nodes"], places_of(tmp_path, 2), strict=True):
        assert keys[address] == NodeIdentity.load(place).node_key
        assert state.pins.nodes[address].stake == 2_000 * UNIT and held("digm", address) == 3_000 * UNIT
        assert sent(address) == 2
    devnet.kill()

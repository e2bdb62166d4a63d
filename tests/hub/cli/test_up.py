"""`digm up`: one command, everything runs, and everything ends with it."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from digm.errors import Unavailable
from digm.manifest import parse_manifest
from digm.signalling_client import Ready
from hub import supervision
from hub.backbone.identity import NodeIdentity
from hub.chain.amounts import UNIT
from hub.chain.deployment import contract
from hub.chain.opening import open_deployed
from hub.chain.ordering import state_now
from hub.config import Settings
from hub.pages.static import StaticFiles
from hub.publishing.vault import FILE_NAME as VAULT_FILE
from hub.storage.catalogue import Catalogue
from hub.storage.chunk_store import ChunkStore
from tests.hub.house import publish_track
from tests.hub.seeding.listener import listening
from tests.ports import free_ports

pytestmark = pytest.mark.skipif(
    StaticFiles().assets() is None, reason="the player is not built (npm run build)"
)
PROCESSES = ("hub", "gateway", "seed", "artist")
READY_WITHIN_S = 90
STOPS_WITHIN_S = 15
NOT_THE_ONE = "not the one"


class Up:
    """A running `digm up`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, lines: list[str]) -> None:
        self.process, self.port, self.lines = process, port, lines

    def children(self) -> dict[str, int]:
        """Name and process id of what it started."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if parent == self.process.pid and b"hub.cli" in words:
                    found[words[words.index(b"hub.cli") + 1].decode()] = int(entry.name)
        return found


@contextlib.asynccontextmanager
async def up(data: Path, **variables: str) -> AsyncIterator[Up]:
    """Start it and wait for its last line."""
    port = free_ports(4)[0]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub.cli", "up", "--port", str(port), "--data", str(data)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "DIGM_NODES": "0", "DIGM_DEVNET": "false", **variables},
        start_new_session=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            while not lines or not lines[-1].startswith("Listen at"):
                line = await process.stdout.readline()
                assert line, lines
                lines.append(line.decode().rstrip())
        yield Up(process, port, lines)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        async with asyncio.timeout(STOPS_WITHIN_S):
            await process.wait()


async def all_gone(processes: list[int]) -> None:
    async with asyncio.timeout(STOPS_WITHIN_S):
        while any(Path(f"/proc/{number}").exists() for number in processes):
            await asyncio.sleep(0.05)


async def test_it_plays_demo_music_on_a_fresh_start_and_ends_without_orphans(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken:  # as by another devnet
        port = str(taken.getsockname()[1])
        await it_plays_and_shows_its_nodes_and_chain(data, port)


async def it_plays_and_shows_its_nodes_and_chain(data: Path, taken: str) -> None:
    async with up(data, DIGM_NODES="1", DIGM_DEVNET="true", DIGM_CHAIN_PORT=taken) as running:
        assert any(line.startswith(f"Port {taken} is taken") for line in running.lines)
        assert running.lines[-1] == f"Listen at http://localhost:{running.port}/"
        async with aiohttp.ClientSession(f"http://localhost:{running.port}") as session:
            async with session.get("/readyz") as answer:
                assert answer.status == 200
            async with session.get("/api/tracks") as answer:
                titles = [track["title"] for track in (await answer.json())["tracks"]]
            await elder_node_holds_the_demo(running, session)
        settings = await the_demo_is_on_the_devnet(running, data)
        await a_piece_is_for_sale(running)
        await a_file_goes_all_the_way(running, data)
        await the_hub_sees_the_orders_kept(running)
        children = running.children()
        assert set(children) == {*PROCESSES, "node", "chain"}
        os.kill(children["chain"], signal.SIGKILL)
        assert await orders(settings) == 4
        children = running.children()
        running.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOPS_WITHIN_S):
            assert await running.process.wait() == 0
        await all_gone(list(children.values()))
    assert titles == ["Prelude in C major, BWV 846", "Gymnopédie No. 1"]
    assert not any(
        (data / name).exists() for name in ("demo", "demo-unpinned", "demo-off-chain", "demo-for-sale")
    )


async def the_demo_is_on_the_devnet(running: Up, data: Path) -> Settings:
    """With accounts for the artist and the node, which has a stake."""
    assert running.process.stdout is not None
    said: dict[str, str] = {}
    async with asyncio.timeout(READY_WITHIN_S):
        while "Allegro" not in said:
            name, _, value = (await running.process.stdout.readline()).decode().strip().rpartition(" ")
            said[name.strip().rstrip(":")] = value
    url, *others = said
    assert "nothing on it is worth anything" in url and others == ["registry", "pinning", "artist", "Allegro"]
    settings = Settings(data=data, chain_rpc=(said[url],))
    async with open_deployed(settings, with_key=False) as (client, deployed):
        at = deployed.addresses
        assert (at["registry"], at["pinning"]) == (said["registry"], said["pinning"])
        node = await client.call(contract("pinning"), at["pinning"], "node", said["Allegro"])
        assert node["stake"] == 2_000 * UNIT
        assert await client.call(contract("para"), at["para"], "balanceOf", said["artist"]) > 99_000 * UNIT
    pins = (await state_now(settings)).pins
    assert [order.replicas for order in pins.orders.values()] == [1, 1]
    key = NodeIdentity.load(data / "nodes" / "1").node_key
    assert [one.address for one in pins.by_key(key)] == [said["Allegro"]]
    return settings


async def a_piece_is_for_sale(running: Up) -> None:
    """Its beginning is free, its price is on the chain."""
    assert running.process.stdout is not None
    async with asyncio.timeout(READY_WITHIN_S):
        said = (await running.process.stdout.readline()).decode().strip()
    assert said.startswith("Hear the beginning, then buy it (25 PARA): http://localhost:")
    root = said.rpartition("/")[2]
    async with asyncio.timeout(READY_WITHIN_S):
        async with aiohttp.ClientSession(f"http://localhost:{running.port}") as session:
            while True:
                async with session.get(f"/api/tracks/{root}/offer") as answer:
                    offer = await answer.json()
                if offer["state"] == "for_sale":
                    break
                await asyncio.sleep(0.1)
    assert (offer["title"], offer["preview_s"]) == ("Minuet in G major, BWV Anh. 114", 30)
    assert (int(offer["price"]), offer["coin_or_token"]["symbol"]) == (25 * UNIT, "PARA")


async def a_file_goes_all_the_way(running: Up, data: Path) -> None:
    """Ingested, stored, on the chain, ordered, told, accepted by the node, advertised."""
    song = data.parent / "song.wav"
    with wave.open(str(song), "wb") as file:
        file.setparams((1, 2, 44_100, 0, "NONE", ""))
        file.writeframes(random.Random(7).randbytes(88_200))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub.cli", "publish", "--pin", "1", "--within", str(READY_WITHIN_S), "--json"),
        str(song),
        env={
            **os.environ,
            "DIGM_DATA": str(data),
            "DIGM_PORT": str(running.port),
            "DIGM_CHAIN_PORT": (data / "chain" / "devnet-port").read_text(),
        },
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said
    steps = [json.loads(line).get("step", "published") for line in said.splitlines()]
    wanted = ["published", "stored", "on_chain", "ordered", "told", "accepted", "advertised"]
    assert sorted(set(steps), key=steps.index) == wanted
    assert json.loads(said.splitlines()[3])["replicas"] == 1


async def the_hub_sees_the_orders_kept(running: Up) -> None:
    """On the devnet, and by the node that `digm up` has staked for."""
    async with asyncio.timeout(READY_WITHIN_S):
        async with aiohttp.ClientSession(f"http://localhost:{running.port}") as session:
            while True:
                async with session.get("/api/chain") as answer:
                    chain = await answer.json()
                kept = [(order["held"], order["wanted"]) for order in chain["orders"]]
                if kept == [(1, 1)] * 4 and [node["name"] for node in chain["nodes"]] == ["Allegro"]:
                    break
                await asyncio.sleep(0.1)


async def orders(settings: Settings) -> int:
    """How many there are, when the devnet is there again."""
    async with asyncio.timeout(READY_WITHIN_S):
        while True:
            with contextlib.suppress(Unavailable):
                async with open_deployed(settings, with_key=False) as (client, deployed):
                    address = deployed.addresses["pinning"]
                    return int(await client.call(contract("pinning"), address, "order_count"))
            await asyncio.sleep(0.1)


async def elder_node_holds_the_demo(running: Up, session: aiohttp.ClientSession) -> None:
    """It was started when the doors were open, holds what was pinned on it, and is on the operator's map."""
    assert running.process.stdout is not None
    async with asyncio.timeout(READY_WITHIN_S):
        said = (await running.process.stdout.readline()).decode()
        assert said == f"An elder node runs beside it; see it at http://localhost:{running.port}/operator\n"
        while True:
            async with session.get("/api/nodes") as answer:
                network = await answer.json()
            copies = [(track["desired"], track["held"]) for track in network["tracks"]]
            # What was transferred is asked for every few seconds, and may be told later than that it is held.
            traffic = [node["traffic"] for node in network["nodes"][1:]]
            received = sum(one["received_bytes"] for one in traffic if one is not None)
            if copies == [(1, 1), (1, 1)] and received > 1_000_000:
                break
            await asyncio.sleep(0.1)
        root = network["tracks"][0]["track_root"]
        while True:
            async with session.get(f"/api/tracks/{root}/sources") as answer:
                if (await answer.json())["peers"] == 2:  # over WebRTC: the seeding peer, and the node
                    break
            await asyncio.sleep(0.1)
    assert [node["operator"] for node in network["nodes"]] == ["this hub", "Allegro"]


async def test_a_crashed_process_is_started_again(tmp_path: Path) -> None:
    publish_track(tmp_path)
    async with up(tmp_path) as running:
        before = running.children()
        os.kill(before["gateway"], signal.SIGKILL)
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://localhost:{running.port + 1}/healthz") as answer:
                        if answer.status == 200 and running.children().get("gateway") != before["gateway"]:
                            break
                await asyncio.sleep(0.05)


async def test_a_hub_for_a_network_brings_its_relay_and_tells_listeners_of_it(tmp_path: Path) -> None:
    publish_track(tmp_path)
    turn_port, health_port = map(str, free_ports(2))
    async with up(
        tmp_path, DIGM_HOST="0.0.0.0", DIGM_TURN_PORT=turn_port, DIGM_RELAY_PORT=health_port
    ) as running:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{health_port}/readyz") as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.05)
        assert set(running.children()) == {*PROCESSES, "relay"}
        track = Catalogue.open(tmp_path).tracks()[0].track_root
        manifest = parse_manifest(ChunkStore(tmp_path).manifest(track))
        async with listening(f"http://127.0.0.1:{running.port}", manifest) as listener:
            welcome = await listener.event(Ready)
        assert isinstance(welcome, Ready)
        assert f"turn:127.0.0.1:{turn_port}?transport=udp" in welcome.ice_servers[-1].urls
        assert welcome.ice_servers[-1].credential


async def test_a_relays_port_that_is_taken_does_not_keep_the_music_from_playing(tmp_path: Path) -> None:
    publish_track(tmp_path)
    with socket.create_server(("0.0.0.0", 0)) as taken:
        async with up(tmp_path, DIGM_HOST="0.0.0.0", DIGM_TURN_PORT=str(taken.getsockname()[1])) as running:
            assert set(running.children()) == set(PROCESSES)


async def test_a_relay_that_was_asked_for_and_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ("--port", str(free_ports(4)[0]), "--data", str(tmp_path))
        status, said = await refusal(*arguments, DIGM_RELAY="yes", DIGM_TURN_PORT=port)
    assert (status, said) == (2, f"Port {port} is already in use on 127.0.0.1; choose another one.\n")


async def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    publish_track(tmp_path)
    async with up(tmp_path) as running:
        children = running.children()
        running.process.kill()
        await all_gone(list(children.values()))


async def test_what_is_dropped_into_the_inbox_is_published(tmp_path: Path) -> None:
    publish_track(tmp_path)
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "not music.flac").write_text("no")
    async with up(tmp_path):
        refused = tmp_path / "inbox" / "refused"
        async with asyncio.timeout(30):
            while not (refused / "not music.flac.txt").exists():
                await asyncio.sleep(0.05)
        assert (refused / "not music.flac").exists()
        assert "not music.flac" in (refused / "not music.flac.txt").read_text()


async def refusal(*arguments: str, **variables: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub.cli", "up", *arguments),
        env={**os.environ, **variables},
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(30):
        _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, said = await refusal("--port", port, "--data", str(tmp_path))
    assert (status, said) == (2, f"Port {port} is already in use on 127.0.0.1; choose another one.\n")


async def test_a_data_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, said = await refusal("--port", str(free_ports(4)[0]), "--data", str(tmp_path / "file" / "data"))
    assert status == 2
    assert said.count("\n") == 1
    assert "cannot be written" in said


async def test_two_of_them_do_not_share_one_data_folder(tmp_path: Path) -> None:
    publish_track(tmp_path)
    async with up(tmp_path):
        status, said = await refusal("--port", str(free_ports(4)[0]), "--data", str(tmp_path))
    assert status == 2
    assert "already running" in said


async def test_a_process_that_refuses_its_settings_ends_everything_with_its_sentence(tmp_path: Path) -> None:
    publish_track(tmp_path)
    status, said = await refusal(
        "--port", str(free_ports(4)[0]), "--data", str(tmp_path), DIGM_VAULT_PASSPHRASE=NOT_THE_ONE
    )
    assert status == 2
    assert said.count("\n") == 1
    assert "vault" in said.lower()


async def test_a_vault_of_somebody_else_is_said_soon_and_with_the_artists_name(tmp_path: Path) -> None:
    publish_track(tmp_path, artist="Somebody")
    publish_track(tmp_path / "other")
    (tmp_path / "other" / VAULT_FILE).replace(tmp_path / VAULT_FILE)
    status, said = await refusal("--port", str(free_ports(4)[0]), "--data", str(tmp_path))
    assert status == 2
    assert said.count("\n") == 1
    assert "no artist process answers for Somebody" in said


async def test_a_process_that_does_not_stay_up_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "BACKOFF_FIRST_S", 0.01)
    child = supervision.Child("seed", tmp_path, {})

    async def crash(*_arguments: str) -> int:
        child.log_path.write_text("Traceback\nOSError: no memory\n")
        return 1

    monkeypatch.setattr(child, "run", crash)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="OSError: no memory"):
            await child.keep_running(asyncio.Event())

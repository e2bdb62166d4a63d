"""kill -9 at random moments: what was said to be durable is there, and the account is exact."""

import random
import subprocess
import sys
import time
from pathlib import Path

from hub.node.storage import NodeStore
from tests.hub.node.music import CHUNK, Elsewhere

SCRIPT = Path(__file__).with_name("put_until_killed.py")
ROUNDS = 12


def test_killed_at_random_moments_a_node_loses_nothing_that_it_acknowledged(tmp_path):
    artist, data = tmp_path / "artist", tmp_path / "node"
    tracks = sorted((Elsewhere(artist, seed=seed) for seed in range(4)), key=lambda track: track.root)
    quota = tracks[0].bytes + tracks[1].bytes + 2 * CHUNK
    dice, durable = random.Random(), set()
    for _ in range(ROUNDS):
        said = run_for_a_while(dice.uniform(0.01, 0.4), str(data), str(artist), str(quota))
        durable |= {name for word, name in said if word == "put"}
        is_pinned = any(word == "pinned" for word, _ in said) or bool(durable)
        check(data, tracks[0].root, quota, durable, is_pinned)
    assert durable


def run_for_a_while(seconds, *arguments):
    child = subprocess.Popen([sys.executable, SCRIPT, *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "began\n"
    time.sleep(seconds)  # not to wait for something: the moment of death is what is tried
    assert child.poll() is None, "it ended before it was killed"
    child.kill()
    said, _ = child.communicate()
    return [line.split() for line in said.splitlines() if line.count(" ") == 1]


def check(data, root, quota, durable, is_pinned):
    node = NodeStore(data, quota)
    try:
        assert [pin.track_root for pin in node.pins()] == [root] * is_pinned or not is_pinned
        for name in durable:
            node.chunks.inspect(name)
        on_disk = set(node.chunks.hashes())
        manifests = sum(path.stat().st_size for path in node.chunks.manifests.iterdir())
        assert node.held_bytes == len(on_disk) * CHUNK + manifests <= quota
        assert sum(track.held_chunks for track in node.tracks()) == len(on_disk)
    finally:
        node.close()

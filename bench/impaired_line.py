"""A bad line between a home and its NAT: packets late, lost, and no faster than so many bytes a second.

    python -m bench.impaired_line HOME_NAMESPACE NAT_NAMESPACE SUBNET DELAY_MS LOSS BYTES_PER_S

Many kernels come without netem. Here a TUN device at each end takes whole IP packets, and this
process carries them across: half of DELAY_MS in each direction, LOSS (0.0 to 1.0) of them dropped in each
direction, a queue of QUEUE_S before a slow line, as a home router has.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

QUEUE_S = 0.25
MTU = 1500
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001


def tun_in(namespace: str, name: str) -> int:
    """Make a TUN device in a namespace. Returns its file descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    place = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(place, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN_NO_PI))
    finally:
        libc.setns(home, CLONE_NEWNET)
        os.close(home)
        os.close(place)
    return tun


def lay(home: str, nat: str, subnet: str) -> tuple[int, int]:
    """Put the line in the place of the cable. Returns its two ends."""

    def ip(namespace: str, words: str) -> None:
        subprocess.run(["ip", "-n", namespace, *words.split()], check=True)

    ip(home, "link del eth0")  # and with it the NAT's `lan`
    ends = tun_in(home, "line"), tun_in(nat, "lan")
    ip(home, f"addr add {subnet}.2/24 dev line")
    ip(home, "link set line up")
    ip(home, f"route add default via {subnet}.1")
    ip(nat, f"addr add {subnet}.1/24 dev lan")
    ip(nat, "link set lan up")
    return ends


def carry(ends: tuple[int, int], delay_s: float, loss: float, bytes_per_s: float) -> None:
    """Carry packets until the process ends."""
    across = {ends[0]: ends[1], ends[1]: ends[0]}
    free_at = dict.fromkeys(ends, 0.0)
    chance = random.Random(1)
    waiting: list[tuple[float, int, int, bytes]] = []
    count = 0
    poll = select.poll()
    for end in ends:
        poll.register(end, select.POLLIN)
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, end, packet = heapq.heappop(waiting)
            try:
                os.write(end, packet)
            except OSError:
                continue  # the device is going away, or its queue is full
        wait_s = waiting[0][0] - time.monotonic() if waiting else 1.0
        for source, _ in poll.poll(max(0.0, wait_s) * 1000):
            for _ in range(64):
                try:
                    packet = os.read(source, MTU + 100)
                except BlockingIOError:
                    break
                now = time.monotonic()
                starts = max(now, free_at[source])
                if chance.random() < loss or starts - now > QUEUE_S:
                    continue
                free_at[source] = starts + (len(packet) / bytes_per_s if bytes_per_s else 0.0)
                count += 1
                heapq.heappush(waiting, (free_at[source] + delay_s, count, across[source], packet))


def main() -> None:
    home, nat, subnet, delay_ms, loss, bytes_per_s = sys.argv[1:]
    ends = lay(home, nat, subnet)
    print("laid", flush=True)
    carry(ends, float(delay_ms) / 2000, float(loss), float(bytes_per_s))


if __name__ == "__main__":
    main()

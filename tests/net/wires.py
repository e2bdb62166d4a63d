"""A plain network between namespaces: each has one wire to a switch in the middle, slow and thin as real ones.

    python -m tests.net.wires DELAY_MS BYTES_PER_S NAMESPACE...

The first namespace is 10.77.0.1, the next one .2, ... Each packet takes the delay of two wires
and leaves at the pace of its sender's. Says a line when all is connected; ends when its standard input does.
In user space, because not every kernel has netem.
"""

import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.net.namespaces import Namespaces, entered, run

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x4004_54CA, 0x0001, 0x1000  # linux/if_tun.h
DEVICE = "wire"
MTU = 16_000  # fewer turns of this loop for the same bytes
MOST_WAITING_BYTES = 1 << 20  # of one wire; what comes then is dropped, as in a router
PLACES = "10.77.0.{}"


class Village(Namespaces):
    """Namespaces on one network.

    Args:
        delay_ms: of each wire, one way. bytes_per_s: of each wire, outwards.
    """

    def __init__(self, names: list[str], delay_ms: float, bytes_per_s: int) -> None:
        super().__init__("dv", names)
        self.address = {name: PLACES.format(number) for number, name in enumerate(names, 1)}
        self._pace = str(delay_ms), str(bytes_per_s)
        self._switch: subprocess.Popen[str] | None = None

    def build(self) -> None:
        """Lay the wires."""
        command = [sys.executable, "-m", "tests.net.wires", *self._pace, *self._all]
        self._switch = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._switch.stdout is not None
        assert self._switch.stdout.readline() == "connected\n", "the switch did not start"

    def stop(self) -> None:
        super().stop()
        if self._switch is not None:
            self._switch.communicate(timeout=15)


@dataclass
class Wire:
    """From the switch to one namespace, and back."""

    descriptor: int
    is_free_at: float = 0.0  # seconds of time.monotonic
    waiting_bytes: int = 0


def main() -> None:
    delay_s, bytes_per_s = float(sys.argv[1]) / 1000, int(sys.argv[2])
    wires = [Wire(_connect(name, PLACES.format(number))) for number, name in enumerate(sys.argv[3:], 1)]
    print("connected", flush=True)
    _switch(wires, 2 * delay_s, bytes_per_s)


def _connect(name: str, address: str) -> int:
    with entered(name):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
        run("ip", "addr", "add", f"{address}/24", "dev", DEVICE)
        run("ip", "link", "set", DEVICE, "mtu", str(MTU), "up")
    return descriptor


def _switch(wires: list[Wire], delay_s: float, bytes_per_s: int) -> None:
    """Packets go by the last byte of the IPv4 address that they are for."""
    due: list[tuple[float, int, Wire, bytes]] = []
    by_descriptor = {wire.descriptor: wire for wire in wires}
    count = 0
    while True:
        pause = max(0.0, due[0][0] - time.monotonic()) if due else None
        readable, _, _ = select.select([sys.stdin, *by_descriptor], [], [], pause)
        if sys.stdin in readable:
            return
        now = time.monotonic()
        while due and due[0][0] <= now:
            _, _, wire, packet = heapq.heappop(due)
            wire.waiting_bytes -= len(packet)
            _write(wire, packet)
        for descriptor in readable:
            packet = os.read(descriptor, 65_536)
            place = packet[19] - 1 if packet[0] >> 4 == 4 and packet[16:19] == b"\x0a\x4d\x00" else -1
            if not 0 <= place < len(wires):
                continue
            wire, sender = wires[place], by_descriptor[descriptor]
            if wire.waiting_bytes > MOST_WAITING_BYTES:
                continue
            took = len(packet) / bytes_per_s
            sender.is_free_at = max(now, sender.is_free_at) + took
            count += 1
            wire.waiting_bytes += len(packet)
            heapq.heappush(due, (sender.is_free_at + delay_s, count, wire, packet))


def _write(wire: Wire, packet: bytes) -> None:
    try:
        os.write(wire.descriptor, packet)
    except OSError:  # nobody is there any more
        return


if __name__ == "__main__":
    main()

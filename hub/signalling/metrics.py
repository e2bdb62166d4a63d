"""What signalling counts. Labels are message types and error codes of the protocol: a bounded set.

Accepted messages are counted in a plain dictionary and read when Prometheus asks: a labelled counter costs as
much as decoding a message.
"""

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

SESSIONS = Gauge("digm_signal_sessions", "Open signalling sessions.")
SWARMS = Gauge("digm_signal_swarms", "Swarms with at least one member on this hub.")
MEMBERS = Gauge("digm_signal_members", "Memberships over all swarms.")
REFUSED = Counter("digm_signal_refused", "Messages refused, by error code.", ["code"])
SLOW = Counter("digm_signal_slow", "Sessions closed because they did not read what was sent to them.")
PACED = Counter("digm_signal_paced", "Pauses of sessions that said too much, by whose limit it was.", ["limit"])
TURNED_AWAY = Counter("digm_signal_turned_away", "Connections that did not become sessions.", ["reason"])
REPORTS = Counter("digm_signal_reports", "Members reported by other members, by code.", ["code"])
REDIRECTS = Counter("digm_signal_redirects", "Members sent to the hub where their swarm lives.")
HUBS_ALIVE = Gauge("digm_signal_hubs_alive", "Hubs of DIGM_HUBS that answer, this one included.")

MESSAGES: dict[str, int] = defaultdict(int)  # by type, only ever counted up


class _Messages(Collector):
    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily("digm_signal_messages", "Messages accepted from peers.", labels=["type"])
        for name, count in list(MESSAGES.items()):
            family.add_metric([name], count)
        yield family


REGISTRY.register(_Messages())

"""What signalling counts. Labels are message types and error codes of the protocol: a bounded set."""

from prometheus_client import Counter, Gauge

SESSIONS = Gauge("digm_signal_sessions", "Open signalling sessions.")
SWARMS = Gauge("digm_signal_swarms", "Swarms with at least one member on this hub.")
MEMBERS = Gauge("digm_signal_members", "Memberships over all swarms.")
MESSAGES = Counter("digm_signal_messages", "Messages accepted from peers.", ["type"])
REFUSED = Counter("digm_signal_refused", "Messages refused, by error code.", ["code"])
SLOW = Counter("digm_signal_slow", "Sessions closed because they did not read what was sent to them.")

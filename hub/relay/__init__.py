"""TURN: credentials, an embedded relay on aioice's STUN codec, and coturn with a generated configuration."""

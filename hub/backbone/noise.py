"""A noise session after its handshake, many messages at a time (trio side).

py-libp2p's own asks the system twice for each message, writes each by itself, and copies what is left of one at
every read. On the wire nothing differs: `/noise`, messages of at most 65,535 bytes behind two bytes of length.
"""

from typing import Any

from libp2p.abc import IRawConnection, ISecureConn
from libp2p.peer.id import ID
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH
from libp2p.security.noise.transport import Transport
from libp2p.security.secure_session import SecureSession

LENGTH_BYTES = 2
READ_BYTES = 262_144  # four messages: what a fast peer has sent while the last ones were opened


class NoiseTransport(Transport):
    """The library's handshake, and then our session."""

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        return NoiseSession(await super().secure_inbound(conn), conn)

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        return NoiseSession(await super().secure_outbound(conn, peer_id), conn)


class NoiseSession(SecureSession):
    """One task may read while another writes; two of a kind may not.

    Args:
        shaken: what the library's handshake gave.
        raw: the connection that it was made on.
    """

    def __init__(self, shaken: Any, raw: IRawConnection) -> None:
        super().__init__(
            local_peer=shaken.local_peer,
            local_private_key=shaken.local_private_key,
            remote_peer=shaken.remote_peer,
            remote_permanent_pubkey=shaken.remote_permanent_pubkey,
            is_initiator=shaken.is_initiator,
            conn=shaken.conn,
        )
        protocol: Any = shaken.conn.noise_state.noise_protocol
        self._seal = protocol.cipher_state_encrypt.encrypt_with_ad
        self._open = protocol.cipher_state_decrypt.decrypt_with_ad
        self._raw = raw
        self._sealed = bytearray()  # the beginning of a message
        self._plain = b""

    async def read(self, n: int | None = None) -> bytes:
        """At most `n` bytes, at least one; None: all that are here. Nothing at the end of the connection.

        Raises:
            InvalidTag: somebody changed a message.
        """
        if n == 0:
            return b""
        data = self._plain or await self._receive()
        if n is None or n >= len(data):
            self._plain = b""
            return data
        self._plain = data[n:]
        return data[:n]

    async def write(self, data: bytes) -> None:
        """All of it, in few messages. Cancelled on the way, it leaves the connection unusable."""
        plain, sealed = memoryview(data), list[bytes]()
        for at in range(0, len(plain), MAX_PLAINTEXT_LENGTH):
            message = self._seal(None, plain[at : at + MAX_PLAINTEXT_LENGTH])
            sealed += (len(message).to_bytes(LENGTH_BYTES, "big"), message)
        await self._raw.write(b"".join(sealed))

    async def _receive(self) -> bytes:
        while True:
            came = await self._raw.read(READ_BYTES)
            if not came:
                return b""
            self._sealed += came
            if plain := self._open_whole_messages():
                return plain

    def _open_whole_messages(self) -> bytes:
        plain, at = list[bytes](), 0
        with memoryview(self._sealed) as sealed:
            while at + LENGTH_BYTES <= len(sealed):
                begin = at + LENGTH_BYTES
                end = begin + int.from_bytes(sealed[at:begin], "big")
                if end > len(sealed):
                    break
                plain.append(self._open(None, sealed[begin:end]))
                at = end
        del self._sealed[:at]
        return b"".join(plain)

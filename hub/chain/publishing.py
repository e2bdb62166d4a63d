"""A track onto the chain: what the artist's machine has published is said to be its own in the registry."""

from pathlib import Path
from typing import Any

from digm.chain_tracks import binding_message
from digm.errors import CallerFault
from digm.ids import from_hex, is_hex_id, to_hex
from digm.manifest import manifest_hash, parse_manifest
from hub.chain.client import ChainClient
from hub.chain.deployment import Deployment, contract
from hub.publishing.vault import Vault
from hub.storage.chunk_store import ChunkStore

MAX_RENDITIONS = 8
NOTHING = bytes(32)


async def bind_artist(client: ChainClient, deployed: Deployment, vault: Vault) -> bool:
    """Say on the chain that the account is the artist's: signed by the key that signs the manifests.

    Returns:
        whether it had to be said.
    Raises:
        as `ChainClient.transact`.
    """
    registry, address, account = contract("registry"), deployed.addresses["registry"], client.sender.address
    if await client.call(registry, address, "artist_key", account) == vault.artist_key:
        return False
    message = binding_message(deployed.chain_id, bytes.fromhex(address[2:]), bytes.fromhex(account[2:]))
    purpose = client.sender.purpose(f"bind {to_hex(vault.artist_key)}")
    await client.transact(purpose, registry, address, "bind_key", vault.artist_key, vault.sign(message))
    return True


async def publish_track(
    client: ChainClient, deployed: Deployment, data: Path, vault: Vault, root: str
) -> dict[str, Any]:
    """Publish a track of this data folder, once.

    Args:
        root: 64 hex digits.
    Returns:
        what happened: track root, its id on the chain; transaction, block and gas, where they are known here.
    Raises:
        CallerFault: `bad_id`, `not_your_track`, `too_many_renditions`; as `ChunkStore.manifest`,
            `ChainClient.transact`.
    """
    if not is_hex_id(root):
        raise CallerFault("bad_id", f"{root!r:.80} is not a track root: that is 64 lower-case hex digits.")
    document = ChunkStore(data).manifest(root)
    manifest = parse_manifest(document)
    if manifest.artist_key != vault.artist_key:
        raise CallerFault("not_your_track", "This track is by another artist than the vault's.")
    if len(manifest.renditions) > MAX_RENDITIONS:
        raise CallerFault(
            "too_many_renditions", f"The registry takes at most {MAX_RENDITIONS} renditions of a track."
        )
    renditions = [
        {
            "chunks": one.chunk_count,
            "frames_per_chunk": one.frames_per_chunk,
            "last_chunk_frames": one.last_chunk_frames,
        }
        for one in manifest.renditions
    ]
    registry, address = contract("registry"), deployed.addresses["registry"]
    name = await client.call(registry, address, "track_id", client.sender.address, from_hex(root))
    said: dict[str, Any] = {"track_root": root, "track": "0x" + name.hex()}
    purpose = f"publish {root}"
    if not client.sender.is_begun(purpose):
        facts = await client.call(registry, address, "track", name)
        if facts["published_at"]:  # by this account, from another data folder
            return said | {"transaction": None, "block": None, "gas": None}
    arguments = (from_hex(root), manifest.audit_root, manifest_hash(document), renditions, NOTHING)
    receipt = await client.transact(purpose, registry, address, "publish", *arguments)
    return said | {
        "transaction": receipt.transaction_hash,
        "block": receipt.block,
        "gas": receipt.gas_used,
    }

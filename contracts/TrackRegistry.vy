# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Who published which track, and what its bytes are
@license Apache-2.0
@notice A track is kept under keccak256(artist, track root): somebody who sees a root in the mempool can publish
        it under an own name only, never in the artist's place. Which of two names is right says the artist's
        Ed25519 key, which signed the manifest and names its addresses here (`bind_key`); readers check both.
        There is no owner, no fee and no way to change what was said: bytes, audit root and artist of a track
        are fixed; its manifest (titles, cover), owner, split and end can change, by its owner, each with an event.
"""

# In the manifest's order. digm/manifest.py allows 16 renditions; a word holds 8.
MAX_RENDITIONS: constant(uint256) = 8
MAX_CHUNKS: constant(uint256) = 65_536
MAX_PAYEES: constant(uint256) = 8
WHOLE_BPS: constant(uint256) = 10_000
FRAME_BYTES: constant(uint256) = 65_536
LEAVES_PER_FRAME: constant(uint256) = 256

struct Rendition:
    chunks: uint256
    frames_per_chunk: uint256
    last_chunk_frames: uint256

struct Payee:
    account: address
    share_bps: uint256

# head: owner, 160 bits | version, 32 | published_at, 40 | is_withdrawn, 1 | is_split_final, 1.
# shape: of each rendition 32 bits: chunks, 17 | log2 of frames_per_chunk, 3 | last_chunk_frames - 1, 4.
struct Track:
    head: uint256
    audit_root: bytes32
    manifest_hash: bytes32
    shape: uint256

struct TrackFacts:
    owner: address
    version: uint256
    published_at: uint256
    is_withdrawn: bool
    is_split_final: bool
    audit_root: bytes32
    manifest_hash: bytes32
    chunk_count: uint256
    byte_size: uint256

struct AuditPlace:
    audit_root: bytes32
    chunk: uint256
    chunks: uint256
    leaf: uint256
    leaves: uint256

event TrackPublished:
    artist: indexed(address)
    track_root: indexed(bytes32)
    track: indexed(bytes32)
    audit_root: bytes32
    manifest_hash: bytes32
    chunk_count: uint256
    byte_size: uint256

event TrackReplaced:
    track: indexed(bytes32)
    by: indexed(bytes32)

event ManifestRevised:
    track: indexed(bytes32)
    manifest_hash: bytes32
    version: uint256

event TrackWithdrawn:
    track: indexed(bytes32)

event TrackOffered:
    track: indexed(bytes32)
    to: indexed(address)

event TrackTransferred:
    track: indexed(bytes32)
    sender: indexed(address)
    receiver: indexed(address)

event SplitSet:
    track: indexed(bytes32)
    payees: DynArray[Payee, MAX_PAYEES]
    is_final: bool

event ArtistKeyBound:
    artist: indexed(address)
    key: indexed(bytes32)
    signature: Bytes[64]

tracks: HashMap[bytes32, Track]
splits: HashMap[bytes32, DynArray[uint256, MAX_PAYEES]]
offered_to: public(HashMap[bytes32, address])
artist_key: public(HashMap[address, bytes32])

WITHDRAWN: constant(uint256) = 1 << 232
SPLIT_FINAL: constant(uint256) = 1 << 233


# What can be asked


@external
@pure
def track_id(artist: address, track_root: bytes32) -> bytes32:
    return keccak256(abi_encode(artist, track_root))


@external
@view
def track(track: bytes32) -> TrackFacts:
    """
    @notice All that is known of a track; owner is the zero address for one that was never published.
    """
    head: uint256 = self.tracks[track].head
    shape: uint256 = self.tracks[track].shape
    chunks: uint256 = 0
    frames: uint256 = 0
    chunks, frames = self._sizes(shape)
    return TrackFacts(
        owner=self._owner(head),
        version=(head >> 160) & (2**32 - 1),
        published_at=(head >> 192) & (2**40 - 1),
        is_withdrawn=(head & WITHDRAWN) != 0,
        is_split_final=(head & SPLIT_FINAL) != 0,
        audit_root=self.tracks[track].audit_root,
        manifest_hash=self.tracks[track].manifest_hash,
        chunk_count=chunks,
        byte_size=frames * FRAME_BYTES,
    )


@external
@view
def renditions(track: bytes32) -> DynArray[Rendition, MAX_RENDITIONS]:
    found: DynArray[Rendition, MAX_RENDITIONS] = []
    shape: uint256 = self.tracks[track].shape
    for _: uint256 in range(MAX_RENDITIONS):
        if shape == 0:
            break
        found.append(self._rendition(shape))
        shape = shape >> 32
    return found


@external
@view
def standing(track: bytes32) -> (address, bool):
    """
    @return the owner (the zero address: no such track), whether it was withdrawn
    """
    head: uint256 = self.tracks[track].head
    return self._owner(head), (head & WITHDRAWN) != 0


@external
@view
def pin_terms(track: bytes32) -> (bytes32, uint256, bool):
    """
    @return audit root (empty: no such track), size in bytes, whether it was withdrawn
    """
    chunks: uint256 = 0
    frames: uint256 = 0
    chunks, frames = self._sizes(self.tracks[track].shape)
    return self.tracks[track].audit_root, frames * FRAME_BYTES, (self.tracks[track].head & WITHDRAWN) != 0


@external
@view
def audit_place(track: bytes32, draw: uint256) -> AuditPlace:
    """
    @notice Which 256 bytes a random number stands for; every byte of the track is as likely as every other.
    @param draw a random number, far greater than any track has leaves
    """
    shape: uint256 = self.tracks[track].shape
    chunks: uint256 = 0
    frames: uint256 = 0
    chunks, frames = self._sizes(shape)
    assert chunks > 0, "no_such_track"
    place: AuditPlace = AuditPlace(
        audit_root=self.tracks[track].audit_root, chunk=0, chunks=chunks, leaf=0, leaves=0
    )
    frame: uint256 = (draw // LEAVES_PER_FRAME) % frames
    for _: uint256 in range(MAX_RENDITIONS):
        rendition: Rendition = self._rendition(shape)
        here: uint256 = self._frames(rendition)
        if frame < here:
            chunk: uint256 = frame // rendition.frames_per_chunk
            in_chunk: uint256 = rendition.frames_per_chunk
            if chunk == rendition.chunks - 1:
                in_chunk = rendition.last_chunk_frames
            place.chunk += chunk
            place.leaf = (frame % rendition.frames_per_chunk) * LEAVES_PER_FRAME + draw % LEAVES_PER_FRAME
            place.leaves = in_chunk * LEAVES_PER_FRAME
            return place
        frame -= here
        place.chunk += rendition.chunks
        shape = shape >> 32
    raise "unreachable"


@external
@view
def split(track: bytes32) -> DynArray[Payee, MAX_PAYEES]:
    """
    @notice Who is paid what share of the track's income; all of it is the owner's where nothing was set.
    """
    found: DynArray[Payee, MAX_PAYEES] = []
    for word: uint256 in self.splits[track]:
        found.append(Payee(account=self._owner(word), share_bps=word >> 160))
    if len(found) == 0:
        found.append(Payee(account=self._owner(self.tracks[track].head), share_bps=WHOLE_BPS))
    return found


# What an artist does


@external
def publish(
    track_root: bytes32,
    audit_root: bytes32,
    manifest_hash: bytes32,
    renditions: DynArray[Rendition, MAX_RENDITIONS],
    replaces: bytes32,
) -> bytes32:
    """
    @notice Says that these bytes are the caller's track.
    @param replaces the track whose new version this is, which is withdrawn with it; or empty
    @return the track's id
    """
    assert track_root != empty(bytes32), "empty_hash"
    assert audit_root != empty(bytes32), "empty_hash"
    assert manifest_hash != empty(bytes32), "empty_hash"
    track: bytes32 = keccak256(abi_encode(msg.sender, track_root))
    assert self.tracks[track].head == 0, "already_published"
    shape: uint256 = self._shape(renditions)
    self.tracks[track] = Track(
        head=convert(msg.sender, uint256) | (1 << 160) | (block.timestamp << 192),
        audit_root=audit_root,
        manifest_hash=manifest_hash,
        shape=shape,
    )
    chunks: uint256 = 0
    frames: uint256 = 0
    chunks, frames = self._sizes(shape)
    log TrackPublished(
        artist=msg.sender,
        track_root=track_root,
        track=track,
        audit_root=audit_root,
        manifest_hash=manifest_hash,
        chunk_count=chunks,
        byte_size=frames * FRAME_BYTES,
    )
    if replaces != empty(bytes32):
        self._withdraw(replaces)
        log TrackReplaced(track=replaces, by=track)
    return track


@external
def revise(track: bytes32, manifest_hash: bytes32):
    """
    @notice The same bytes with another manifest: a corrected title, another cover.
    """
    head: uint256 = self._own(track)
    assert manifest_hash != empty(bytes32), "empty_hash"
    assert manifest_hash != self.tracks[track].manifest_hash, "nothing_new"
    version: uint256 = ((head >> 160) & (2**32 - 1)) + 1
    assert version < 2**32, "too_many_versions"
    self.tracks[track].head = head + (1 << 160)
    self.tracks[track].manifest_hash = manifest_hash
    log ManifestRevised(track=track, manifest_hash=manifest_hash, version=version)


@external
def withdraw(track: bytes32):
    """
    @notice Takes a track out of the catalogue, for good. Copies that others hold are not touched by it;
            nodes may drop it, and no new copies are ordered.
    """
    self._withdraw(track)


@external
def offer(track: bytes32, to: address):
    """
    @notice Offers a track to another owner, who has to take it. The zero address takes the offer back.
    """
    self._own(track)
    self.offered_to[track] = to
    log TrackOffered(track=track, to=to)


@external
def take(track: bytes32):
    """
    @notice Takes what was offered to the caller. A split that was set stays as it is.
    """
    assert self.offered_to[track] == msg.sender, "not_offered"
    head: uint256 = self.tracks[track].head
    assert (head & WITHDRAWN) == 0, "withdrawn"
    self.offered_to[track] = empty(address)
    self.tracks[track].head = ((head >> 160) << 160) | convert(msg.sender, uint256)
    log TrackTransferred(track=track, sender=self._owner(head), receiver=msg.sender)


@external
def set_split(track: bytes32, payees: DynArray[Payee, MAX_PAYEES], is_final: bool):
    """
    @notice Says how the track's income is shared. Final: nobody can change it any more, whoever owns the track,
            so that those who are to be paid need not trust the owner.
    """
    head: uint256 = self._own(track)
    assert (head & SPLIT_FINAL) == 0, "split_is_final"
    words: DynArray[uint256, MAX_PAYEES] = []
    total: uint256 = 0
    for payee: Payee in payees:
        assert payee.account != empty(address), "bad_split"
        assert payee.share_bps > 0 and payee.share_bps <= WHOLE_BPS, "bad_split"
        total += payee.share_bps
        words.append(convert(payee.account, uint256) | (payee.share_bps << 160))
    assert total == WHOLE_BPS, "bad_split"
    self.splits[track] = words
    if is_final:
        self.tracks[track].head = head | SPLIT_FINAL
    log SplitSet(track=track, payees=payees, is_final=is_final)


@external
def bind_key(key: bytes32, signature: Bytes[64]):
    """
    @notice Names the Ed25519 key that signs the caller's manifests; the empty key takes the name back.
    @param signature by that key over "digm/1 chain artist", line feed, chain id and registry and caller
           as `abi_encode(uint256, address, address)`. Not checked here, where it would cost 500,000 gas:
           a reader believes nothing without it.
    """
    assert key == empty(bytes32) or len(signature) == 64, "bad_signature"
    self.artist_key[msg.sender] = key
    log ArtistKeyBound(artist=msg.sender, key=key, signature=signature)


# Inside


@internal
@pure
def _owner(head: uint256) -> address:
    return convert(head & (2**160 - 1), address)


@internal
@view
def _own(track: bytes32) -> uint256:
    """
    @return the track's head, where the caller may change it
    """
    head: uint256 = self.tracks[track].head
    assert head != 0, "no_such_track"
    assert self._owner(head) == msg.sender, "not_the_owner"
    assert (head & WITHDRAWN) == 0, "withdrawn"
    return head


@internal
def _withdraw(track: bytes32):
    self.tracks[track].head = self._own(track) | WITHDRAWN
    log TrackWithdrawn(track=track)


@internal
@pure
def _shape(renditions: DynArray[Rendition, MAX_RENDITIONS]) -> uint256:
    assert len(renditions) > 0, "bad_rendition"
    shape: uint256 = 0
    bits: uint256 = 0
    for rendition: Rendition in renditions:
        assert rendition.chunks > 0 and rendition.chunks <= MAX_CHUNKS, "bad_rendition"
        log2: uint256 = 0
        for exponent: uint256 in range(1, 5):
            if rendition.frames_per_chunk == 1 << exponent:
                log2 = exponent
        assert rendition.frames_per_chunk == 1 << log2, "bad_rendition"
        last: uint256 = rendition.last_chunk_frames
        assert last > 0 and last <= rendition.frames_per_chunk, "bad_rendition"
        shape |= (rendition.chunks | (log2 << 17) | ((last - 1) << 20)) << bits
        bits += 32
    return shape


@internal
@pure
def _rendition(shape: uint256) -> Rendition:
    return Rendition(
        chunks=shape & (2**17 - 1),
        frames_per_chunk=1 << ((shape >> 17) & 7),
        last_chunk_frames=((shape >> 20) & 15) + 1,
    )


@internal
@pure
def _frames(rendition: Rendition) -> uint256:
    return (rendition.chunks - 1) * rendition.frames_per_chunk + rendition.last_chunk_frames


@internal
@pure
def _sizes(shape: uint256) -> (uint256, uint256):
    """
    @return chunks and frames of all renditions
    """
    chunks: uint256 = 0
    frames: uint256 = 0
    rest: uint256 = shape
    for _: uint256 in range(MAX_RENDITIONS):
        if rest == 0:
            break
        rendition: Rendition = self._rendition(rest)
        chunks += rendition.chunks
        frames += self._frames(rendition)
        rest = rest >> 32
    return chunks, frames

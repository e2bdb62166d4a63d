# pragma version ==0.4.3
"""
@title Merkle paths of RFC 6962 over SHA-256, the same as digm/merkle.py
@license Apache-2.0
@notice A path that is too short, too long or leads elsewhere gives another root, never a revert:
        who calls compares with the root that it trusts.
"""

# 2^20 leaves: 8 renditions of 65,536 chunks are 2^19.
MAX_PATH: constant(uint256) = 20


@internal
@pure
def range_hash(leaf: Bytes[256]) -> bytes32:
    """
    @notice A leaf of a chunk's audit tree: SHA-256(0x00 || 256 bytes).
    """
    return sha256(concat(b"\x00", leaf))


@internal
@pure
def leaf_hash(leaf: bytes32) -> bytes32:
    """
    @notice A leaf of the track's trees: SHA-256(0x00 || 32 bytes).
    """
    return sha256(concat(b"\x00", leaf))


@internal
@pure
def root_from(hashed_leaf: bytes32, index: uint256, count: uint256, path: DynArray[bytes32, MAX_PATH]) -> bytes32:
    """
    @notice The root that a leaf and its path lead to; empty for a path of the wrong length or a wrong place.
    @param index place of the leaf, from 0
    @param count how many leaves the tree has
    @param path nearest sibling first
    """
    if index >= count:
        return empty(bytes32)
    node: bytes32 = hashed_leaf
    place: uint256 = index
    width: uint256 = count
    used: uint256 = 0
    given: uint256 = len(path)
    for _: uint256 in range(MAX_PATH + 1):
        if width <= 1:
            break
        # An odd last node moves up as it is (CVE-2012-2459).
        if place % 2 == 1 or place + 1 < width:
            if used == given:
                return empty(bytes32)
            if place % 2 == 1:
                node = sha256(concat(b"\x01", path[used], node))
            else:
                node = sha256(concat(b"\x01", node, path[used]))
            used += 1
        place = place // 2
        width = (width + 1) // 2
    if width > 1 or used != given:
        return empty(bytes32)
    return node

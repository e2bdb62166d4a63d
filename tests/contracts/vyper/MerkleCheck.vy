# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title The merkle module, to be called from tests
"""

import merkle


@external
@view
def chunk_root(leaf: Bytes[256], index: uint256, count: uint256, path: DynArray[bytes32, 20]) -> bytes32:
    return merkle.root_from(merkle.range_hash(leaf), index, count, path)


@external
@view
def track_root(leaf: bytes32, index: uint256, count: uint256, path: DynArray[bytes32, 20]) -> bytes32:
    return merkle.root_from(merkle.leaf_hash(leaf), index, count, path)

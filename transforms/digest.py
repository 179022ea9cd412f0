"""By what bars are known to be the same."""

import hashlib
from typing import Final

import numpy as np
import polars as pl

Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]

_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
"""Odd, near 2^64 over the golden ratio: what multiplicative hashing spreads bits with."""
_HALF: Final = np.uint64(32)


def content_digest(bars: pl.DataFrame, *, timeframe: str = "") -> str:
    """SHA-256, in hex, of the timeframe if given, the columns' names, and their values as little-endian buffers.

    Null counts as NaN.
    """
    digest = hashlib.sha256(timeframe.encode())
    for column in bars.iter_columns():
        values = column.to_physical().rechunk().to_numpy()
        digest.update(f"{column.name}:{values.dtype.name}:{values.size};".encode())
        digest.update(values.astype(values.dtype.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()


def row_hashes(bars: pl.DataFrame) -> Hashes:
    """64 bits that a row's values give, in their order; null counts as NaN.

    Sums of them (modulo 2^64) tell whether rows are the same wherever a history is cut: two parts have the sum of both.
    They find accidents, not attacks. (Multiply and shift: Knuth, The Art of Computer Programming, vol. 3, 6.4.)
    """
    hashes = np.zeros(bars.height, np.uint64)
    for column in bars.iter_columns():
        values = column.to_physical().rechunk().to_numpy()
        hashes = (hashes ^ values.view(np.uint64)) * _MIX
        hashes ^= hashes >> _HALF
    return hashes * _MIX

"""By what bars are known to be the same."""

import hashlib

import polars as pl


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

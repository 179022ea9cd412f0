"""Universal Binary JSON, as far as XGBoost writes it: https://ubjson.org/type-reference/.

A marker of one letter says what a value is; lengths are 64-bit integers (`L`), numbers big-endian. Arrays have a
length, and numeric ones a common type as well. Integers outside arrays take the fewest bytes, except that XGBoost gives
the greatest number of a size the next size.
"""

import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np

INTEGERS: Final = {"i": ">i1", "I": ">i2", "l": ">i4", "L": ">i8"}
"""Markers of integers, from the fewest bytes, and the dtypes of their arrays."""
ARRAYS: Final = {"U": ">u1", "l": ">i4", "L": ">i8", "d": ">f4"}
DEEPEST: Final = 16
BYTES_PER_VALUE: Final = 256
FEW_VALUES: Final = 16
"""A list has a value per tree, which takes more bytes than this, and is refused with many more values than its text
could hold trees."""


def read(data: bytes) -> Any:
    """Return the value of a text: dict, list, str, int, or an array of one of the dtypes `ARRAYS`.

    No more memory is taken than a small multiple of the text's length.

    Raises:
        ValueError: it is none, or one that XGBoost does not write.
    """
    value, end = _value(data, 0, 0)
    if end != len(data):
        raise ValueError("there is something behind the model")
    return value


def write(value: Any) -> bytes:
    """Return the text of what `read` can return."""
    parts: list[bytes] = []
    _write(value, parts.append)
    return b"".join(parts)


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Return the value that begins at a position, and the position behind it."""
    if depth > DEEPEST:
        raise ValueError("it is nested deeper than a model is")
    marker, at = _taken(data, at, 1)
    match marker:
        case b"{":
            return _object(data, at, depth)
        case b"[":
            return _array(data, at, depth)
        case b"S":
            return _string(data, at)
    kind = INTEGERS.get(marker.decode("latin-1"))
    if kind is None:
        raise ValueError(f"a value begins with {marker!r}, which no model holds")
    raw, at = _taken(data, at, np.dtype(kind).itemsize)
    return int.from_bytes(raw, "big", signed=True), at


def _object(data: bytes, at: int, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while data[at : at + 1] != b"}":
        name, at = _string(data, at)
        if name in found:
            raise ValueError(f"it holds {name!r:.40} twice")
        found[name], at = _value(data, at, depth + 1)
    return found, at + 1


def _array(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    marker, at = _taken(data, at, 1)
    if marker == b"$":
        kind, at = _taken(data, at, 1)
        dtype = ARRAYS.get(kind.decode("latin-1"))
        if dtype is None:
            raise ValueError(f"an array is of {kind!r}, which no model holds")
        size, at = _length(data, at, b"#L")
        raw, at = _taken(data, at, size * np.dtype(dtype).itemsize)
        return np.frombuffer(raw, dtype), at
    size, at = _length(data, at - 1, b"#L")
    if (size - FEW_VALUES) * BYTES_PER_VALUE > len(data):
        raise ValueError(f"a list has {size} values, more than a model of so many bytes")
    values = []
    for _ in range(size):
        value, at = _value(data, at, depth + 1)
        values.append(value)
    return values, at


def _string(data: bytes, at: int) -> tuple[str, int]:
    size, at = _length(data, at, b"L")
    raw, at = _taken(data, at, size)
    return raw.decode("ascii"), at


def _length(data: bytes, at: int, markers: bytes) -> tuple[int, int]:
    found, at = _taken(data, at, len(markers))
    raw, at = _taken(data, at, 8)
    if found != markers:
        raise ValueError("a length is not written as XGBoost does")
    return int.from_bytes(raw, "big"), at


def _taken(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size > len(data) - at:
        raise ValueError("it ends too early")
    return data[at : at + size], at + size


def _write(value: Any, put: Callable[[bytes], object]) -> None:
    match value:
        case dict():
            put(b"{")
            for name, each in value.items():
                put(_counted(name.encode("ascii")))
                _write(each, put)
            put(b"}")
        case np.ndarray():
            marker = next(marker for marker, dtype in ARRAYS.items() if value.dtype == dtype)
            put(f"[${marker}#".encode() + _size(len(value)) + value.tobytes())
        case list():
            put(b"[#" + _size(len(value)))
            for each in value:
                _write(each, put)
        case str():
            put(b"S" + _counted(value.encode("ascii")))
        case int():
            sizes = ((marker, np.dtype(dtype).itemsize) for marker, dtype in INTEGERS.items())
            marker, size = next(one for one in sizes if -(2 ** (8 * one[1] - 1)) <= value < 2 ** (8 * one[1] - 1) - 1)
            put(marker.encode() + value.to_bytes(size, "big", signed=True))


def _size(count: int) -> bytes:
    return b"L" + struct.pack(">q", count)


def _counted(text: bytes) -> bytes:
    return _size(len(text)) + text

"""Read the files of a series: whole ones within bounds, what cannot be read as an error that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO, Final

import polars as pl
import pyarrow as pa

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.paths import redact_url
from job.core.wording import on_one_line
from job.sources.no_bars import EmptyFileError, NoBarsError
from job.sources.series import SourceFile
from job.sources.words import printable
from job.storage.opening import content, is_packed, opened

MAX_EXPANSION: Final = 200
"""Times its packed size beyond which a file is taken for a bomb: bars come to some 20, Deflate can make 1032 of it."""

ALWAYS_ALLOWED: Final = 1 << 24
"""Unpacked size in bytes that no file is refused for."""

LONGEST_REASON: Final = 200


def display_path(file: SourceFile) -> str:
    """Name of a file in messages."""
    return printable(f"{redact_url(file.url)}/{file.member}" if file.member else redact_url(file.url))


def read_all(file: SourceFile, settings: DataSettings) -> bytes:
    """Decompressed bytes of a file.

    Raises:
        DataError: as `content`, or it unpacks to so much that it cannot hold bars.
    """
    limit = max_unpacked(file) if is_compressed(file) and file.size > 0 else -1
    data = content(file.url, file.member, settings.options, limit=limit)
    if len(data) == limit:
        raise unpacks_to_too_much(file)
    return data


@contextmanager
def open_file(file: SourceFile, settings: DataSettings) -> Iterator[IO[bytes]]:
    """Open a file for reading here and there; one that is packed or in an archive is unpacked first."""
    if file.member is not None or is_packed(file.url):
        yield BytesIO(read_all(file, settings))
        return
    with opened(file.url, settings.options) as handle:
        yield handle


def is_compressed(file: SourceFile) -> bool:
    """Return whether the size of a file is that of compressed bytes; that of a member of an archive is not."""
    return file.member is None and is_packed(file.url)


def max_unpacked(file: SourceFile) -> int:
    """Bytes that a packed file may unpack to."""
    return ALWAYS_ALLOWED + MAX_EXPANSION * file.size


def unpacks_to_too_much(file: SourceFile) -> DataError:
    """Error for an archive that unpacks to more than bars could."""
    return DataError(
        f"{display_path(file)}: unpacks to more than {MAX_EXPANSION} times its size, as bars do not; "
        "download it again, or unpack it first if it is right"
    )


@contextmanager
def as_data_errors(file: SourceFile) -> Iterator[None]:
    """Turn what Polars and Arrow raise on values that they cannot hold into a `DataError` that names the file."""
    try:
        yield
    except (NoBarsError, EmptyFileError) as error:
        raise DataError(str(error)) from None
    except (pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(
            f"{display_path(file)}: cannot be understood: {reason(error)}; write it again with plain columns"
        ) from None


def reason(error: BaseException) -> str:
    """What an error of Polars or Arrow says, fit for a message."""
    return printable(on_one_line(error)[:LONGEST_REASON])

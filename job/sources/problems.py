"""Many files that cannot be read, in few words: how many, some of them, and a file that names all."""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from job.core.errors import DataError, JobError

MOST: Final = 10
"""Problems that are shown whole."""
EXAMPLES: Final = 3
"""Problems that are shown of more than these."""


def summarize(problems: Sequence[JobError]) -> list[str]:
    """Return the messages of all problems, or of some and where the rest stands: a new file in the temporary folder."""
    messages = [str(problem) for problem in problems]
    if len(messages) <= MOST:
        return messages
    rest = f"and {len(messages) - EXAMPLES} more files or series that cannot be used"
    with suppress(OSError):
        with tempfile.NamedTemporaryFile("w", prefix="ohlcv-problems-", suffix=".txt", delete=False) as file:
            file.write("\n".join(messages) + "\n")
        rest = f"{rest}; all {len(messages)} stand in {Path(file.name)}"
    return [*messages[:EXAMPLES], rest]


def as_one(problems: Sequence[JobError]) -> DataError:
    """Return one error for an input of which nothing can be read."""
    return DataError("; ".join(summarize(problems)))

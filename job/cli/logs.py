"""Log lines of the command line: to stderr, one line each, whatever the names of files and symbols hold."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

from job.core.log_fields import FIELDS, RUN

log = logging.getLogger("job")

FORMAT_VARIABLE: Final = "OHLCV_LOG_FORMAT"
"""Environment variable that has the format where neither arguments nor settings do."""


class OneLine(logging.Formatter):
    """Writes a record on one line: names out of files and folders may hold line ends and escape sequences."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Return the line with all that cannot be printed written out."""
        record.message = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in record.message)
        return super().formatMessage(record)


class JsonLine(logging.Formatter):
    """Writes a record as a JSON object: time (UTC, ISO 8601 to the ms), level, message, and its `FIELDS`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object on one line of ASCII."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": at, "level": record.levelname.lower(), "message": record.getMessage()}
        known = {**RUN, **vars(record)}
        line |= {name: known[name] for name in FIELDS if name in known}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: str, form: str | None = None) -> None:
    """Send the job's log lines to stderr, as lines of `json` or of text."""
    handler = logging.StreamHandler(sys.stderr)
    text = OneLine("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(JsonLine() if form == "json" else text)
    logging.basicConfig(handlers=[handler], force=True)
    logging.getLogger().setLevel(logging.WARNING)
    log.setLevel(level.upper())

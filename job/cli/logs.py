"""Log lines of the command line: to stderr, one line each, whatever the names of files and symbols hold."""

import logging
import sys

log = logging.getLogger("job")


class OneLine(logging.Formatter):
    """Writes a record on one line: names out of files and folders may hold line ends and escape sequences."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Return the line with all that cannot be printed written out."""
        record.message = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in record.message)
        return super().formatMessage(record)


def configure_logging(level: str) -> None:
    """Send the job's log lines to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(handlers=[handler], force=True)
    logging.getLogger().setLevel(logging.WARNING)
    log.setLevel(level.upper())

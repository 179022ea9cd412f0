"""When a run gives up: too many failures, or a failure that every model would meet."""

from typing import Final

from job.cluster.operation import OutcomeT
from job.core.errors import DataError, TrainingError
from job.registry.record import RunRecord

ALIKE: Final = 20
"""If so many first outcomes fail alike, the cause lies in the machines or the settings, not in the models."""
OF_ITS_BARS: Final = frozenset({DataError.__name__, TrainingError.__name__})
"""Errors that lie in a series' own bars, and say nothing about the other series."""


def reason_to_stop(record: RunRecord[OutcomeT], max_failures: float | None) -> str | None:
    """Return why a run should end now, or None.

    `max_failures` is a count (int) or a share of the planned models (float below 1).
    """
    failed = record.by_status["failed"]
    if max_failures is not None:
        most = max_failures if isinstance(max_failures, int) else max_failures * record.planned
        if failed > most:
            limit = f"{max_failures}" if isinstance(max_failures, int) else f"{max_failures:.3g} of them"
            return f"{failed} of {record.planned} models failed, more than model_trainer.max_failures allows ({limit})"
    if failed != ALIKE or len(record.outcomes) > failed + record.by_status["current"]:
        return None
    alike = set()
    for outcome in record.failures:
        error = outcome.error or {}
        message = error.get("message", "")
        # Models differ in their names and in numbers: what is left of a message is alike where its cause is.
        for name in (outcome.exchange, outcome.symbol, outcome.timeframe, outcome.model_type):
            message = message.replace(name, "")
        alike.add((error.get("type", ""), "".join(letter for letter in message if not letter.isdigit())))
    (kind, _), *others = alike
    if others or kind in OF_ITS_BARS:
        return None
    return f"the first {ALIKE} models failed alike: {record.failures[-1].error_message}"

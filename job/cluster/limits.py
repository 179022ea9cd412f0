"""When a run gives up: too many failures, or a failure that awaits every model alike."""

from typing import Final

from job.cluster.operation import OutcomeT
from job.core.errors import DataError, TrainingError
from job.registry.outcome import Outcome
from job.registry.record import RunRecord

ALIKE: Final = 20
"""So many first outcomes that fail alike speak of the machines or the settings, not of the models."""
OF_ITS_BARS: Final = frozenset({DataError.__name__, TrainingError.__name__})
"""Errors that lie in a series' own bars, and say nothing about the other series."""


def reason_to_stop(record: RunRecord[OutcomeT], max_failures: float | None) -> str | None:
    """Return why a run should end now, or None.

    `max_failures` is a count (int) or a share of the planned models (float below 1).
    """
    failed = len(record.failures)
    if max_failures is not None:
        most = max_failures if isinstance(max_failures, int) else max_failures * record.planned
        if failed > most:
            limit = f"{max_failures}" if isinstance(max_failures, int) else f"{max_failures:.3g} of them"
            return f"{failed} of {record.planned} models failed, more than model_trainer.max_failures allows ({limit})"
    done = any(one.status not in {"failed", "current"} for one in record.outcomes)
    if failed == ALIKE and not done and len(kinds := {_kind(one) for one in record.failures}) == 1:
        (kind,) = kinds
        if kind[0] not in OF_ITS_BARS:
            return f"the first {ALIKE} models failed alike: {record.failures[-1].error_message}"
    return None


def _kind(outcome: Outcome) -> tuple[str, str]:
    """Return an error's type and message without what differs between models: their names and all numbers."""
    error = outcome.error or {}
    message = error.get("message", "")
    for name in (outcome.exchange, outcome.symbol, outcome.timeframe, outcome.model_type):
        message = message.replace(name, "")
    return error.get("type", ""), "".join(letter for letter in message if not letter.isdigit())

"""What lines of JSON say beside their message: the run, and the model that a line is about."""

from dataclasses import asdict
from typing import Any, Final

from job.core.keys import Key

FIELDS: Final = ("run_id", "exchange", "symbol", "timeframe", "model_type", "status", "attempt")
"""Attributes of a log record that a line of JSON has, in this order, where the record has them."""

RUN: Final[dict[str, str]] = {}
"""What every line says of the run that was begun last, nothing before the first one."""


def set_run(run_id: str) -> None:
    """Have all lines of this process, from now on and of whatever thread, be those of a run."""
    RUN["run_id"] = run_id


def of_model(key: Key, **more: Any) -> dict[str, Any]:
    """Return what a line about a model takes as `extra`; `more` are other `FIELDS`."""
    return {**asdict(key), **more}

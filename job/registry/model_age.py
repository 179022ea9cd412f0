"""How old a version is for the bars that it predicts, and what is done where that is too old.

Age is counted by bars: from the last label that the version was trained or chosen on to the close of the newest bar to
be predicted. So the same files give the same answer whenever they are predicted, a version that was trained again on
old bars is no younger, and on live bars it is what the clock says.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from job.config.policies import PredictionSettings
from job.config.values import duration_text
from job.core.errors import RegistryError


def label_end_of(described: Mapping[str, Any]) -> datetime | None:
    """Return when the last label of a version was known, from its metadata or summary; None where it does not say."""
    try:
        return datetime.fromisoformat(described["label_end"])
    except (LookupError, TypeError, ValueError):
        return None


def check_age(
    label_end: datetime | None, last: datetime, settings: PredictionSettings, *, version: str
) -> tuple[str, ...]:
    """Return the warning about predictions by a version that is too old; none where it is not.

    Args:
        label_end: when the last label of the version was known.
        last: close of the newest bar to be predicted.
        settings: the limit, and whether what is beyond it is refused or flagged.
        version: for the message, with the name of its model.

    Raises:
        RegistryError: it is too old, and refused.
    """
    age = None if label_end is None else last - label_end
    if settings.max_model_age is None or (age is not None and age <= settings.max_model_age):
        return ()
    limit = f"predictions.max_model_age is {duration_text(settings.max_model_age)}"
    if age is None or label_end is None:
        claim = f"{version}: its metadata does not say when its last label was known, and {limit}"
    else:
        claim = (
            f"{version} is {age / timedelta(days=1):.1f} days old: its last label is of {label_end:%Y-%m-%dT%H:%M}, "
            f"the newest bar to predict of {last:%Y-%m-%dT%H:%M}; {limit}"
        )
    if settings.old_models == "flag":
        return (claim,)
    raise RegistryError(f"{claim}: train the model again, or predict anyway with predictions.old_models: flag")

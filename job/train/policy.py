"""Whether a model whose bars have become more is to be trained again; a plan and a worker decide alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from job.config.policies import RetrainSettings
from job.config.values import duration_text
from transforms.bars import duration_us

NO_VERSION: Final = "no version of this definition"


@dataclass(frozen=True)
class TrainedOn:
    """The bars of one series that a version was trained on: their digest, and when the last of them closed."""

    digest: str
    end: datetime

    def record(self) -> dict[str, str]:
        """Return it as JSON values, as metadata keep it."""
        return {"digest": self.digest, "end": self.end.isoformat(timespec="seconds")}


@dataclass(frozen=True)
class Held:
    """The newest version of a model's definition, as far as it matters to when the next is trained.

    `alarm` is since when the model's champion is flagged, `asked` is when the plan was made. `trained_on` has the bars
    by series, at least one.
    """

    version: str
    created: datetime
    asked: datetime
    trained_on: Mapping[str, TrainedOn]
    alarm: datetime | None = None

    @property
    def end(self) -> datetime:
        """When the last of its bars closed."""
        return max(one.end for one in self.trained_on.values())


@dataclass(frozen=True)
class Decision:
    """Whether to train, why, and if not, which version is fresh enough until when.

    `until_bars` is the close of the bar with which there are enough new ones, if none is absent; `until` the time at
    which the version is too old. Either is None where the policy has no such trigger.
    """

    train: bool
    why: str
    version: str = ""
    until_bars: datetime | None = None
    until: datetime | None = None

    def record(self) -> dict[str, Any]:
        """Return why and until when a model is fresh enough, as JSON values."""
        ends = {"bars": self.until_bars, "time": self.until}
        until = {name: end.isoformat(timespec="seconds") for name, end in ends.items() if end is not None}
        return {"why": self.why, "until": until}

    @classmethod
    def to_train(cls, why: str) -> Self:
        """Return the decision to train."""
        return cls(train=True, why=why)


def decide(policy: RetrainSettings, timeframe: str, held: Held, *, added: timedelta) -> Decision:
    """Return whether a model is to be trained whose version was trained on bars that are still the same.

    Args:
        policy: of which at least one trigger is set.
        timeframe: of the model.
        held: the newest version of its definition.
        added: how long all later bars last; so many bars of the timeframe as fit into it are new.
    """
    age = held.asked - held.created
    step = timedelta(microseconds=duration_us(timeframe))
    bars, wanted = added // step, policy.min_new_bars
    reached: list[str] = []
    below: list[str] = []
    if wanted is not None:
        (reached if bars >= wanted else below).append(f"{bars} of {wanted} new bars")
    if policy.max_age is not None:
        old = f"{age / timedelta(days=1):.1f} days of {duration_text(policy.max_age)} old"
        (reached if age >= policy.max_age else below).append(old)
    if policy.on_evidence:
        flagged = held.alarm is not None and held.alarm > held.end
        (reached if flagged else below).append(f"flagged at {minute(held.alarm)}" if flagged else "not flagged")
    if reached and added > timedelta(0):
        return Decision.to_train(", ".join(reached))
    if reached:  # the same bars give the same model
        return Decision(train=False, why=f"no new bars ({', '.join(reached)})", version=held.version)
    return Decision(
        train=False,
        why=", ".join(below),
        version=held.version,
        until_bars=None if wanted is None else held.end + wanted * step,
        until=None if policy.max_age is None else held.created + policy.max_age,
    )


def minute(time: datetime | None) -> str:
    """Return a time as reasons tell it, to the minute: `2024-01-31T12:00+00:00`."""
    return "" if time is None else time.astimezone(UTC).isoformat(timespec="minutes")

"""What `compare --promote` and `watch` do with a verdict: a new champion, a challenger held until decided, or none."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from job.config.settings import PromotionSettings
from job.core.keys import Key
from job.learning.comparison import Verdict
from job.registry.aliases import change_alias, read_aliases
from job.registry.promote import promote
from job.storage.files import Storage

Action = Literal["promoted", "held", "given up"]


@dataclass(frozen=True)
class Decision:
    """What becomes of version b, and why."""

    action: Action
    reason: str


def decide(
    found: Verdict | None,
    days: float,
    policy: PromotionSettings,
    *,
    fresher: bool,
    challenger: bool,
    decidable: bool = True,
) -> Decision | None:
    """Return what to do with version b; None for nothing.

    Args:
        found: the verdict.
        days: of bars on which it is based.
        policy: the settings of promotion.
        fresher: whether b was trained on later bars than the champion.
        challenger: whether b is the challenger by now.
        decidable: whether more bars may help.
    """
    if found == "better":
        return Decision("promoted", f"significantly better than the champion (alpha {policy.alpha:g})")
    if policy.policy == "fresher" and found == "not worse" and fresher:
        return Decision(
            "promoted",
            f"trained on later bars and less than {policy.margin:g} nats worse (alpha {policy.alpha:g})",
        )
    if found != "worse" and decidable and days < policy.patience_days:
        return Decision("held", f"{found} after {days:.3g} days of bars")
    if not challenger:
        return None
    return Decision("given up", "worse than the champion" if found == "worse" else f"{found} after {days:.3g} days")


def carry_out(
    decision: Decision,
    registry: Storage,
    key: Key,
    version: str,
    *,
    command: str,
    numbers: Mapping[str, Any] | None = None,
    instead_of: str | None = None,
) -> None:
    """Move the alias that a decision on version b is about.

    Args:
        decision: on it.
        registry: where.
        key: the model.
        version: b.
        command: that decided, for the history.
        numbers: JSON values that the decision rests on, for the history.
        instead_of: the version that must still be the champion where b becomes it, None for any.

    Raises:
        RegistryError: version b cannot be loaded, or another decision came first.
    """
    if decision.action == "given up":  # with no challenger, the next comparison takes the latest version
        seen = read_aliases(registry, key)
        if seen.challenger == version:
            change_alias(
                registry,
                key,
                "challenger",
                lambda now: replace(now, challenger=None),
                seen=seen,
                command=command,
                reason=decision.reason,
                numbers=numbers,
            )
        return
    promoted = decision.action == "promoted"
    promote(
        registry,
        key,
        version,
        alias="champion" if promoted else "challenger",
        command=command,
        reason=decision.reason,
        numbers=numbers,
        instead_of=instead_of if promoted else None,
    )

"""What `compare --promote` does with a verdict: a new champion, a challenger held until it is decided, or none."""

from dataclasses import dataclass
from typing import Literal

from job.config.settings import PromotionSettings
from job.learning.comparison import Verdict

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

"""Sample weights: how much each training row counts in the fits of the model and of its logistic benchmark.

Labels that wait for the same bars say much the same, and old bars may tell of a market that is gone. Only fits are
weighted: the scaler, the base rate, shrinking and all scores count every row once, and `min_samples_leaf` counts rows.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from job.core.wording import did_you_mean

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DEFINITION: Final = 1
"""Version of how weights are computed, raised whenever that changes; it enters the fingerprints of weighted models."""
DAY_US: Final = 86_400_000_000
BOTH_HALF_LIFE_DAYS: Final = 90.0
"""Half-life that `both` stands for: a quarter."""
MAX_HALF_LIFE_DAYS: Final = 36_525.0
LIGHTEST: Final = 1e-6
"""No row weighs less than this share of the heaviest: trees divide by the weight of a node."""


@dataclass(frozen=True)
class Weights:
    """What a row's weight is the product of; at least one of the two.

    Attributes:
        uniqueness: mean, over the bars that the row's label waits for, of 1 / the number of labels that wait for the
            same bar (`transforms.samples.uniqueness`; López de Prado, Advances in Financial Machine Learning, ch. 4).
        half_life_days: 0.5 to the power of the row's age over this; None where age does not matter.
    """

    uniqueness: bool = False
    half_life_days: float | None = None

    def definition(self) -> dict[str, Any]:
        """Return it as JSON values, from which `parse_weights` makes an equal one."""
        return asdict(self)


WORDS: Final[Mapping[str, Weights | None]] = {
    "none": None,
    "uniqueness": Weights(uniqueness=True),
    "both": Weights(uniqueness=True, half_life_days=BOTH_HALF_LIFE_DAYS),
}
EXPECTED: Final = (
    "expected none, uniqueness, {half_life_days: 30}, {uniqueness: true, half_life_days: 30}, "
    f"or both, whose half-life is {BOTH_HALF_LIFE_DAYS:g} days"
)


def parse_weights(value: object) -> Weights | None:
    """Read weights from a word of `WORDS` or a mapping of their fields; None stands for equal weights.

    Raises:
        ValueError: it is neither, or the half-life is out of range.
    """
    if value is None or isinstance(value, Weights):
        return value
    if isinstance(value, str) and value in WORDS:
        return WORDS[value]
    if not isinstance(value, Mapping):
        hint = did_you_mean(value, WORDS) if isinstance(value, str) else ""
        raise ValueError(f"{EXPECTED}{hint}")  # noqa: TRY004 - validation of settings catches ValueError
    known = [field.name for field in fields(Weights)]
    if unknown := [name for name in value if name not in known]:
        raise ValueError(f"unknown key {unknown[0]!r}{did_you_mean(str(unknown[0]), known)}; {EXPECTED}")
    uniqueness, days = value.get("uniqueness", False), value.get("half_life_days")
    if not isinstance(uniqueness, bool):
        raise ValueError(f"uniqueness must be true or false, got {uniqueness!r}")  # noqa: TRY004
    if days is not None and (
        isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days <= MAX_HALF_LIFE_DAYS
    ):
        raise ValueError(f"half_life_days must be above 0 and at most {MAX_HALF_LIFE_DAYS:g} days, got {days!r}")
    return Weights(uniqueness, None if days is None else float(days)) if uniqueness or days is not None else None


def describe_weights(weights: Weights | None, weight: FloatArray | None, *, rows: int) -> dict[str, Any]:
    """Return `weights` as metadata keeps it, as JSON values: the setting, and how much of a window is left.

    `effective_rows` is how many equally weighted rows say as much, (sum of w)² / sum of w² (Kish 1965). Nothing is
    said where the setting is none.
    """
    if weights is None:
        return {}
    effective = float(rows) if weight is None else math.fsum(weight) ** 2 / math.fsum(weight**2)
    return {"weights": {**weights.definition(), "version": DEFINITION, "effective_rows": effective}}

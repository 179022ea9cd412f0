"""Search spaces: which values of an estimator's parameters `tune` tries. Plain data, for algorithms and settings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from job.learning.spec import Scalar

WAY_TO_WRITE: Final = "write {low: 0.01, high: 0.3, log: true} for a range, or a list of values such as [gini, entropy]"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where both ends are. `log`: evenly on a log scale."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Choices = tuple[Scalar, ...]
Space = Mapping[str, Range | Choices]
"""By the name of a parameter of the estimator: a range, or values to choose from, whose order means nothing."""


def describe_space(space: Space) -> dict[str, Any]:
    """Return a space as JSON values, as settings write it."""
    return {
        name: {"low": one.low, "high": one.high, "log": one.log} if isinstance(one, Range) else list(one)
        for name, one in space.items()
    }


def parse_space(value: object) -> dict[str, Range | Choices]:
    """Return the space that settings describe: by parameter `{low, high, log}`, or a list of values.

    Raises:
        ValueError: it describes none; the message names the parameter and the way to write it.
    """
    if not isinstance(value, Mapping) or not value:
        raise ValueError("expected parameters by name, such as {max_depth: {low: 2, high: 12}}")
    return {str(name): _parse_values(str(name), one) for name, one in value.items()}


def _parse_values(name: str, value: object) -> Range | Choices:
    if isinstance(value, Range):
        return value
    if isinstance(value, list | tuple):
        if len(set(map(repr, value))) < 2 or not all(isinstance(one, Scalar) for one in value):
            raise ValueError(f"{name}: expected at least two different values: {WAY_TO_WRITE}")
        if not all(math.isfinite(one) for one in value if isinstance(one, float)):
            raise ValueError(f"{name}: expected finite values, got {value}")
        return tuple(value)
    if not isinstance(value, Mapping) or not {"low", "high"} <= value.keys() <= {"low", "high", "log"}:
        raise ValueError(f"{name}: {WAY_TO_WRITE}")
    low, high, log = value["low"], value["high"], value.get("log", False)
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in (low, high)) or type(log) is not bool:
        raise ValueError(f"{name}: low and high are numbers, log is true or false: {WAY_TO_WRITE}")
    if not low < high or (log and low <= 0):
        raise ValueError(f"{name}: low must be less than high, and above 0 on a log scale, got {low} and {high}")
    if not math.isfinite(float(high) - float(low)):
        raise ValueError(f"{name}: expected a finite range, got {low} and {high}")
    return Range(low, high, log=log)

"""What a case measured, as a title and one line a quantity, at most 100 columns wide."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

WIDTH: Final = 38
"""Columns of what a line names."""


@dataclass(frozen=True)
class Table:
    """The result of a case. No line is empty: an empty one ends a case's section in the README."""

    name: str
    about: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as it is printed."""
        return "\n".join([f"{self.name}: {self.about}", *(f"  {line}" for line in self.lines)])


class Case(Protocol):
    """Measures something; `quick` does so with sizes so small that the figures mean nothing."""

    def __call__(self, *, quick: bool) -> Table: ...


def line(
    what: str,
    values: float | Sequence[float],
    unit: str,
    *,
    digits: int = 1,
    at_most: float | None = None,
    at_least: float | None = None,
) -> str:
    """Return the line of one quantity: its median, from where to where it went in how many runs, and its target."""
    several = [values] if isinstance(values, float | int) else list(values)
    median = statistics.median(several)
    runs = f"{min(several):,.{digits}f} to {max(several):,.{digits}f} of {len(several)}" if len(several) > 1 else ""
    target = ""
    if at_most is not None:
        target = f"<= {at_most:,.{digits}f} {verdict(met=median <= at_most)}"
    if at_least is not None:
        target = f">= {at_least:,.{digits}f} {verdict(met=median >= at_least)}"
    return f"{what:{WIDTH}} {median:9,.{digits}f} {unit:5} {runs:22} {target}".rstrip()


def verdict(*, met: bool) -> str:
    """Say whether a target was met."""
    return "met" if met else "missed"

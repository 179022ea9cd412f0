"""The algorithms that tests go through: where one's library is missing, its tests are skipped, and say so by name."""

from typing import Any, Final

import pytest

from job.core.environment import installed
from job.learning.estimators import ALGORITHMS

MISSING: Final = {
    name: f"{one.library} is absent, which {name} needs: pip install '.[{one.extra}]'"
    for name, one in ALGORITHMS.items()
    if one.library is not None and not installed(one.library)
}
"""Why algorithms cannot be tested here, by name."""
PRESENT: Final = tuple(name for name in ALGORITHMS if name not in MISSING)


def quick(name: str) -> dict[str, Any]:
    """Return `params` with which networks take seconds where tests ask for few trees; nothing for other algorithms."""
    few = {"epochs": 3, "learning_rate": 0.01}
    return few if name in ALGORITHMS and ALGORITHMS[name].extra == "torch" else {}


def each(*names: str) -> list[Any]:
    """Return parameters of a test for every algorithm, or for those named."""
    return [pytest.param(name, marks=_marks(name)) for name in names or ALGORITHMS]


def _marks(name: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a test of an algorithm: it needs PyTorch, or boosters, or its library is not here."""
    extra = ALGORITHMS[name].extra
    marks = [] if extra is None else [pytest.mark.torch if extra == "torch" else pytest.mark.boosters]
    return [*marks, pytest.mark.skip(reason=MISSING[name])] if name in MISSING else marks

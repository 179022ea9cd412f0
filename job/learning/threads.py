"""Threads of the libraries that fits and predictions call into: of BLAS one, so that sums have one order."""

import sys
from functools import lru_cache
from typing import Any, Final

from threadpoolctl import ThreadpoolController

OPENMP_ROWS: Final = 200_000
"""With fewer rows, boosting's threads wait for each other longer than they work, and much longer on busy CPUs."""


def limited_threads(openmp: int = 1) -> Any:
    """Return a context in which BLAS has one thread, and OpenMP so many."""
    return _libraries(len(sys.modules)).limit(limits={"blas": 1, "openmp": openmp})


_libraries: Final = lru_cache(1)(lambda _modules: ThreadpoolController())
"""The libraries that are loaded, which take 4 ms to find: they are looked for again where modules came in."""

"""Engines that fit a forest: scikit-learn, histograms (`histogram.py`), or oneDAL. The driver chooses; workers follow.

None of them is imported here: a plan needs only their names.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

from job.core.environment import installed
from job.core.errors import ConfigError

EngineSetting = Literal["auto", "sklearn", "onedal"]
Engine = Literal["sklearn", "histogram", "onedal"]
"""What fits a model; `histogram` leaves windows with small leaves to scikit-learn."""

FOREST: Final = "random_forest"
"""The only algorithm with a choice of engines. oneDAL's extra trees are not scikit-learn's: most of their splits halve
the node (its pull request 2592)."""
ONEDAL_LIBRARY: Final = "scikit-learn-intelex"
SMALLEST_LEAF_SHARE: Final = 0.02
"""For trees with smaller leaves, which have many nodes of few rows each, histograms are no faster than scikit-learn."""
SUPPORTED_PARAMS: Final = {"n_estimators", "max_depth", "min_samples_leaf", "max_features", "random_state", "verbose"}
"""Parameters that every engine follows; all others must keep scikit-learn's defaults."""
MAX_TREES: Final = 6_024
"""The number of independent random streams that oneDAL has."""


def resolve(
    setting: EngineSetting, algorithm: str, n_estimators: int, params: Mapping[str, Any], *, weighted: bool = False
) -> Engine:
    """Return the engine that fits a model, given what is installed on the driver.

    `auto` chooses the engine that needs the least CPU for scikit-learn's forest: histograms, which need no further
    library, where leaves are known to hold a good share of the rows; otherwise oneDAL if it is installed, which was the
    fastest from 100 to 34,000 rows and from 5 to 100 trees. oneDAL does not draw rows by their weights, so it is not
    chosen where rows are `weighted`.

    Raises:
        ConfigError: oneDAL is asked for, but is not installed or cannot grow this forest.
    """
    if algorithm != FOREST or setting == "sklearn":
        return "sklearn"
    unsupported = sorted(set(params) - SUPPORTED_PARAMS)
    trees = params.get("n_estimators", n_estimators)
    refusal = None
    if unsupported:
        refusal = f"does not follow params.{unsupported[0]} of {FOREST}: leave that out"
    elif isinstance(trees, int) and trees > MAX_TREES:
        refusal = f"grows at most {MAX_TREES} trees, got {trees}: lower n_estimators"
    elif weighted:
        refusal = "does not draw rows by weights: set weights to none"
    elif installed(ONEDAL_LIBRARY) is None:
        remedy = "pip install '.[onedal]' (Linux or Windows on x86-64)"
        refusal = f"needs {ONEDAL_LIBRARY}, which is not installed: {remedy}"
    if setting == "onedal":
        if refusal is not None:
            raise ConfigError(f"model_trainer.engine: onedal {refusal}, or leave engine out")
        return "onedal"
    if unsupported:
        return "sklearn"
    # By default, or as a share, leaves are large in windows of any size; a number of rows is large in small ones only.
    leaf = params.get("min_samples_leaf", 1.0)
    has_large_leaves = isinstance(leaf, float) and leaf >= SMALLEST_LEAF_SHARE
    return "histogram" if refusal is not None or has_large_leaves else "onedal"


def leaf_rows(leaf: float, rows: int) -> int:
    """Return the fewest rows of a leaf, as scikit-learn reads `min_samples_leaf`: a number, or a share of all rows."""
    return leaf if isinstance(leaf, int) else math.ceil(leaf * rows)

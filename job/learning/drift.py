"""How far new bars are from those that a model was trained on, feature by feature. Information, never a verdict.

A model may be right on bars that differ, and wrong on bars that do not: only its scores say which.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final, Self

import numpy as np
import polars as pl
import scipy  # not its parts, which load on first use: the driver imports this

from job.learning.bins import BINS, Bins, Values
from job.learning.metrics import FloatArray
from job.learning.times import IntArray

STRETCH: Final = 1_000
LEAST_STRETCH: Final = 100
"""Most and fewest rows on end that are compared with all training rows."""
STRETCHES: Final = 10
MOST_STRETCHES: Final = 200
"""From fewer than `STRETCHES` nothing is said of what is usual; where there are not so many, they are made shorter."""
CONFIDENCE: Final = 0.95
MODERATE: Final = 0.1
LARGE: Final = 0.25
"""By rule of thumb (Siddiqi 2006) a PSI below .1 is no change, one above .25 a large one."""
WORST: Final = 5
MOST_BYTES: Final = 2_400


@dataclass(frozen=True)
class Reference:
    """What new bars are compared with: number of training rows, share of up among them, bins by feature.

    Their `usual` is about stretches of `stretch` rows on end, which is how many new rows are best compared.
    """

    rows: int
    up: float
    features: Mapping[str, Bins]
    stretch: int = STRETCH

    @classmethod
    def of(cls, columns: Iterable[tuple[str, Values]], *, rows: int, up: float, series: IntArray | None = None) -> Self:
        """Return the reference of training rows in the order of time.

        Args:
            columns: name and float32 values of each feature, the most important first; as many are taken as
                `MOST_BYTES` of the metadata hold.
            rows: how many there are.
            up: share of up.
            series: number of each row's series, None where there is but one.
        """
        length, stretch = stretches(np.zeros(rows, np.int64) if series is None else series)
        within, count = stretch >= 0, int(stretch.max(initial=-1)) + 1
        stretch = stretch[within]
        taken, found, room = dict[str, Bins](), list[FloatArray](), MOST_BYTES
        for name, values in columns:
            bins = Bins.of(values)
            # In the file each list stands on a line of its own, with indentation; `usual` takes about 8 bytes.
            recorded = _recorded({name: replace(bins, usual=99.999)})
            room -= sum(len(json.dumps(part)) + 3 for part in recorded.values() if part)
            if room < 0:
                break
            taken[name] = bins
            if count:
                found.append(bins.psi_of_groups(values[within], stretch, groups=count, rows=rows))
        if not found:
            return cls(rows, up, taken)
        # Limits in proportion to what 19 of 20 stretches stay below in each feature alone, such that 19 of 20 stretches
        # stay below those of all features at once.
        indices = np.column_stack(found)
        alone = np.quantile(indices, CONFIDENCE, axis=0)
        beyond = np.divide(indices, alone, out=np.zeros_like(indices), where=alone > 0).max(axis=1)
        usual = (alone * np.quantile(beyond, CONFIDENCE)).tolist()
        limited = {
            name: replace(bins, usual=float(f"{limit:.3g}"))
            for (name, bins), limit in zip(taken.items(), usual, strict=True)
        }
        return cls(rows, up, limited, length)

    @classmethod
    def read(cls, metadata: Mapping[str, Any]) -> Self | None:
        """Return the reference in a version's metadata; None if there is none, as in early releases, or no good one."""
        try:
            drift = metadata["drift"]
            shares, usual = drift.get("shares", {}), drift.get("usual", {})
            features = {
                str(name): Bins.read(edges, shares.get(name), usual.get(name))
                for name, edges in drift["features"].items()
            }
            found = cls(int(drift["rows"]), float(drift["up"]), features, int(drift["stretch"]))
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            return None
        return found if found.rows > 0 and found.stretch > 0 and 0 <= found.up <= 1 else None

    def record(self) -> dict[str, Any]:
        """Return what the metadata keeps, as JSON values."""
        return {
            "rows": self.rows,
            "up": float(f"{self.up:.4g}"),
            "stretch": self.stretch,
            **_recorded(self.features),
        }


@dataclass(frozen=True)
class Drift:
    """New rows beside a model's training rows.

    `psi` is the population stability index of each feature, and `usual` what it usually stays below, where that is
    known. `chance` is what 19 of 20 features of ten bins stay below if rows are independent draws and nothing has
    changed. Bars on end are no such draws: what moves slowly stays where it is, so `usual` says more. `up` is the share
    of up among the new rows, None where labels are not known, beside that of the training rows.
    """

    rows: int
    psi: Mapping[str, float]
    usual: Mapping[str, float]
    chance: float | None
    up: float | None
    up_trained: float
    stretch: int

    @property
    def beyond(self) -> dict[str, float]:
        """Index of each feature as a multiple of .25, or of what is usual if that is more, the furthest first.

        Where what is usual is not known, chance takes its place.
        """
        least = self.chance or 0.0
        found = {name: value / max(LARGE, self.usual.get(name, least)) for name, value in self.psi.items()}
        return dict(sorted(found.items(), key=lambda one: -one[1]))

    @property
    def unusual(self) -> int:
        """How many features are beyond 1; 0 if there are fewer rows than in a stretch, which alone makes it larger."""
        if self.rows < (self.stretch if self.usual else LEAST_STRETCH):
            return 0
        return sum(value > 1 for value in self.beyond.values())

    def record(self) -> dict[str, Any]:
        """Return the worst features and how many differ, as JSON values.

        `worst` has name, index and what is usual of the five features furthest `beyond`; `moderate` and `large` count
        the features above .1 and .25.
        """
        values = [*self.psi.values()]
        return {
            "rows": self.rows,
            "features": len(values),
            "worst": [[name, round(self.psi[name], 4), self.usual.get(name)] for name in [*self.beyond][:WORST]],
            "median": round(median(values), 4) if values else None,
            "moderate": sum(value > MODERATE for value in values),
            "large": sum(value > LARGE for value in values),
            "unusual": self.unusual,
            "chance": None if self.chance is None else round(self.chance, 4),
            "up": None if self.up is None else round(self.up, 4),
            "up_trained": self.up_trained,
        }


def drift_of(metadata: Mapping[str, Any], rows: pl.DataFrame, *, labeled: bool = False) -> dict[str, Any] | None:
    """Return how far the newest rows are from the training rows of a version; None if it is of an early release.

    These are as many as the version's metadata calls a stretch. Where rows say which of them are `complete`, only those
    count. With `labeled` their column `label` tells the share of up.
    """
    reference = Reference.read(metadata)
    if reference is None:
        return None
    newest = (rows.filter("complete") if "complete" in rows.columns else rows).tail(reference.stretch)
    return measure(reference, newest, float(newest["label"].to_numpy().mean()) if labeled else None).record()


def measure(reference: Reference, features: pl.DataFrame, up: float | None = None) -> Drift:
    """Compare new rows with a model's training rows.

    Args:
        reference: of the model.
        features: a row for each bar and a column for each feature, null or NaN where it has no value. What is a column
            here or a feature there alone is left out. The newest `reference.stretch` bars of a series are what `usual`
            is about.
        up: the share of up among their labels, None if these are not known.
    """
    rows, found = features.height, dict[str, float]()
    for name, bins in reference.features.items():
        if rows and name in features.columns:
            values = features[name].cast(pl.Float64).fill_null(math.nan).to_numpy()
            found[name] = bins.psi(values, rows=reference.rows)
    chance = None
    if rows:
        # What 19 of 20 indices stay below if all rows are independent draws of one distribution: the index then is
        # about (1 / n + 1 / m) times chi-square with one degree of freedom less than bins (Yurdakul and Naranjo 2020).
        chance = float(scipy.special.chdtri(BINS - 1, 1 - CONFIDENCE)) * (1 / rows + 1 / reference.rows)
    return Drift(
        rows=rows,
        psi=found,
        usual={name: bins.usual for name, bins in reference.features.items() if bins.usual is not None},
        chance=chance,
        up=up,
        up_trained=reference.up,
        stretch=reference.stretch,
    )


def stretches(series: IntArray) -> tuple[int, IntArray]:
    """Return how long stretches are, and for each row the number of its stretch, -1 for rows that are in none.

    The stretches of a series follow each other from its first row on. They have `STRETCH` rows, or as many as leave
    `STRETCHES` of them; where these are fewer than `LEAST_STRETCH`, there is no stretch. Of very many some are taken,
    spread evenly.
    """
    order = np.argsort(series, kind="stable")
    _, lengths = np.unique(series, return_counts=True)
    tried = np.arange(STRETCH, LEAST_STRETCH - 1, -1)
    enough = tried[sum(rows // tried for rows in lengths) >= STRETCHES]
    length, found = next(iter(enough.tolist()), 0), np.full(len(series), -1)
    first, count = 0, 0
    for rows in lengths.tolist() if length else ():
        whole = rows // length
        found[order[first : first + whole * length]] = count + np.repeat(np.arange(whole), length)
        first, count = first + rows, count + whole
    if count > MOST_STRETCHES:
        number = np.full(count + 1, -1)  # the last is that of rows in no stretch
        number[np.linspace(0, count - 1, MOST_STRETCHES).round().astype(np.int64)] = np.arange(MOST_STRETCHES)
        found = number[found]
    return length or STRETCH, found


def _recorded(features: Mapping[str, Bins]) -> dict[str, Any]:
    """Return the bins of features as the metadata keep them."""
    return {
        "features": {name: list(bins.edges) for name, bins in features.items()},
        "shares": {name: shares for name, bins in features.items() if (shares := bins.recorded_shares)},
        "usual": {name: bins.usual for name, bins in features.items() if bins.usual is not None},
    }

"""From bars to columns of features."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

import polars as pl

from transforms.features.feature import EXACT, POSITION, WARM, Feature, Term
from transforms.segments import positions

_NONE: Final = pl.Series([None], dtype=pl.Float32)


def available(features: Iterable[Feature], columns: Iterable[str]) -> tuple[tuple[Feature, ...], tuple[str, ...]]:
    """Return the features that bars with `columns` can give, and the names of the others."""
    present, features = set(columns), tuple(features)
    kept = tuple(feature for feature in features if present.issuperset(feature.inputs))
    return kept, tuple(feature.name for feature in features if not present.issuperset(feature.inputs))


def warmup_bars(features: Iterable[Feature], *, exact: bool = False) -> int:
    """Return how many earlier bars of a segment all features need, to settle to 1e-4, or to 1e-9 where `exact`."""
    return max((feature.settled_after(EXACT if exact else WARM) for feature in features), default=0)


def add_features(bars: pl.DataFrame, features: Sequence[Feature]) -> pl.DataFrame:
    """Add one Float32 column per feature, in their order.

    Args:
        bars: as `transforms.bars.segment` gives them. No window reaches across a segment.
        features: no two of them with the same name.

    A value is null where its segment has had fewer than `warmup` bars before.

    Raises:
        ValueError: a feature's inputs are not among the columns, or two terms of one name differ.
    """
    left_out = available(features, bars.columns)[1]
    if left_out:
        inputs = {column: None for feature in features for column in feature.inputs}
        absent = ", ".join(column for column in inputs if column not in bars.columns)
        raise ValueError(f"no {absent} in these bars: leave out the features {', '.join(left_out)}")
    several = bars.height > 0 and bars["segment"][0] != bars["segment"][-1]
    position = pl.Series(POSITION, positions(bars["segment"]))
    read = {column for feature in features for column in feature.inputs}
    base = bars.select(pl.col("segment").set_sorted(), *sorted(read)).hstack([position])
    warm = {warmup: position >= warmup for warmup in {feature.warmup for feature in features}}
    made: dict[str, pl.Series] = {}
    for batch in _batches(features):  # not all at once: their terms need several times the memory of the features
        working = base
        for terms in _steps(batch):  # one column after the other: handing so little to threads costs more than it saves
            working = working.with_columns_seq(
                # Sums over a window may read past a segment's start, where their features are still null; an average
                # would never forget what it read there.
                (term.expr.over("segment") if several and term.weight is not None else term.expr).alias(term.name)
                for term in terms
            )
        working = working.with_columns_seq(feature.column for feature in batch)
        made |= {feature.name: working[feature.name].zip_with(warm[feature.warmup], _NONE) for feature in batch}
    return bars.hstack([made[feature.name] for feature in features])


def _batches(features: Iterable[Feature]) -> list[list[Feature]]:
    """Put families of features, which share no term, together: as long as they have no more terms than the largest.

    Every batch has its price, however few the bars are.
    """
    # Each with the names of its terms; features without any are one family.
    families: list[tuple[list[Feature], set[str]]] = []
    for feature in features:
        family, terms = [feature], {term.name for term in feature.every_term}
        for other in [other for other in families if other[1] & terms or not (other[1] or terms)]:
            families.remove(other)
            family, terms = other[0] + family, other[1] | terms
        families.append((family, terms))
    most = max((len(terms) for _, terms in families), default=0)
    batches: list[tuple[list[Feature], set[str]]] = []
    for family, terms in families:
        for batch, others in batches:
            if len(terms) + len(others) <= most:
                batch.extend(family)
                others.update(terms)
                break
        else:
            batches.append((family, terms))
    return [batch for batch, _ in batches]


def _steps(features: Iterable[Feature]) -> list[list[Term]]:
    """Return the terms that features need, each once, in steps: a term reads only terms of earlier ones."""
    found: dict[str, Term] = {}
    for feature in features:
        for term in feature.every_term:
            known = found.setdefault(term.name, term)
            if known is not term and not (known == term and known.expr.meta.eq(term.expr)):
                raise ValueError(f"two terms are named {term.name} and differ: rename one")
    ordered = sorted(found.values(), key=lambda term: term.depth)
    return [list(terms) for _, terms in groupby(ordered, key=lambda term: term.depth)]

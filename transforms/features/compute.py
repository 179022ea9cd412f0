"""From bars to columns of features."""

from collections.abc import Iterable, Sequence

import polars as pl

from transforms.features.feature import POSITION, Feature, Term
from transforms.segments import positions


def available(features: Iterable[Feature], columns: Iterable[str]) -> tuple[tuple[Feature, ...], tuple[str, ...]]:
    """Return the features that bars with `columns` can give, and the names of the others."""
    present, features = set(columns), tuple(features)
    kept = tuple(feature for feature in features if present.issuperset(feature.inputs))
    return kept, tuple(feature.name for feature in features if feature not in kept)


def warmup_bars(features: Iterable[Feature], *, exact: bool = False) -> int:
    """Earlier bars of a segment that the features need between them, to 1e-4, or to 1e-9 where `exact`."""
    return max((feature.warmup_exact if exact else feature.warmup for feature in features), default=0)


def add_features(bars: pl.DataFrame, features: Sequence[Feature]) -> pl.DataFrame:
    """Add one Float32 column per feature, in their order.

    Args:
        bars: as `transforms.bars.segment` gives them. No window reaches across a segment.
        features: of different names.

    A value is null where its segment has had fewer than `warmup` bars before.

    Raises:
        ValueError: a feature's inputs are not among the columns, or two terms of one name differ.
    """
    left_out = available(features, bars.columns)[1]
    if left_out:
        raise ValueError(f"no volume in these bars: leave out the features {', '.join(left_out)}")
    several = bars.height > 0 and bars["segment"][0] != bars["segment"][-1]
    position = pl.Series(POSITION, positions(bars["segment"]))
    base = bars.with_columns(pl.col("segment").set_sorted(), position)
    made: dict[str, pl.Series] = {}
    for family in _families(features):  # one at a time: the terms of all take several times the room of the features
        working = base
        for level in _levels(family):
            working = working.with_columns(
                # Sums over a window may read past a segment's start, where their features are still masked; an average
                # would never forget what it read there.
                (term.expr.over("segment") if several and term.weight is not None else term.expr).alias(term.name)
                for term in level
            )
        made |= working.select(_masked(feature) for feature in family).to_dict()
    return bars.hstack([made[feature.name] for feature in features])


def _masked(feature: Feature) -> pl.Expr:
    warm = pl.col(POSITION) >= feature.warmup
    return pl.when(warm).then(feature.expr).cast(pl.Float32).alias(feature.name)


def _families(features: Iterable[Feature]) -> list[list[Feature]]:
    """Split features into groups that share no term."""
    groups: list[tuple[list[Feature], set[str]]] = []
    for feature in features:
        family, terms = [feature], set(_depths([feature]))
        for group in [group for group in groups if group[1] & terms]:
            groups.remove(group)
            family, terms = group[0] + family, group[1] | terms
        groups.append((family, terms))
    return [family for family, _ in groups]


def _levels(features: Iterable[Feature]) -> list[list[Term]]:
    """Return the terms that features need, in steps: each step reads only what stands in earlier ones."""
    depths = _depths(features).values()
    steps = 1 + max((depth for depth, _ in depths), default=-1)
    return [[term for depth, term in depths if depth == step] for step in range(steps)]


def _depths(features: Iterable[Feature]) -> dict[str, tuple[int, Term]]:
    """Return the terms that features need by name, each with how many it rests on, one upon the other."""
    found: dict[str, tuple[int, Term]] = {}

    def visit(terms: Iterable[Term]) -> int:
        depths = []
        for term in terms:
            depth, known = found.setdefault(term.name, (visit(term.terms), term))
            if known is not term and not (known == term and known.expr.meta.eq(term.expr)):
                raise ValueError(f"two terms are named {term.name} and differ: rename one")
            depths.append(depth)
        return 1 + max(depths, default=-1)

    for feature in features:
        visit(feature.terms)
    return found

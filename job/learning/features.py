"""From the names in settings to features: of a pack, of this project's table, or of a user's module.

A model's features are kept as text. A feature of `transforms.features.FEATURES` is kept by its plain name, a user's
by reference: the import path of what holds it, and its name there, as in `mypackage.alphas:FEATURES[alpha_1]`. The name
of its column follows from either without importing anything.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Final

from job.core.entries import EntryError, import_entry, is_import_path
from job.core.wording import did_you_mean, first_of
from job.learning.context import AT, as_timeframe, split_origin
from transforms.bars import FLOW
from transforms.context import MARKET_FEATURES
from transforms.features import FEATURES, PACKS
from transforms.features.feature import BAR_COLUMNS, POSITION, Feature
from transforms.samples import MARKET, UNIQUENESS

SAMPLE_COLUMNS: Final = frozenset(
    {*BAR_COLUMNS, *MARKET, POSITION, UNIQUENESS, "available_at", "label", "label_end", "label_note", "filled"}
    | {"contiguous_run", "head", "pool", "series", "timeframe", "model_type", "state", "cold", "p"}
)
"""Names of columns that bars and samples have on their way to a model."""

MARKET_PACK: Final = "market"
"""Name that stands for all columns of the market."""
_REFERENCE: Final = re.compile(r"(?P<path>[^\[\]]+)\[(?P<name>[^\[\]]+)\]")


def split_reference(feature: str) -> tuple[str | None, str]:
    """Return the import path and the column of a model's feature; the path is None for one of this project."""
    base, where = split_origin(feature)
    match = _REFERENCE.fullmatch(base)
    if match is None or not is_import_path(match["path"]):
        return None, feature
    return match["path"], match["name"] if where is None else f"{match['name']}{AT}{where}"


def expand_features(settings: Sequence[str]) -> tuple[str, ...]:
    """Return a model's features from names of packs and features, import paths and references, each feature once.

    Raises:
        EntryError: a name is unknown, an import path leads to no features, or two features have one name.
    """
    expanded = tuple(dict.fromkeys(feature for setting in settings for feature in expand_feature(setting)))
    columns: dict[str, str] = {}
    for feature in expanded:
        name = split_reference(feature)[1]
        if columns.setdefault(name, feature) != feature:
            raise EntryError(f"{columns[name]} and {feature} are both named {name!r}: rename one")
    return expanded


def expand_feature(setting: str) -> tuple[str, ...]:
    """Return the features that one name, import path or reference stands for; raises as `expand_features`.

    `name@1h` and `name@BTCUSDT` stand for the same features of longer bars, and of those of another series.
    """
    base, where = split_origin(setting)
    if where is not None:
        if not where.strip() or base == MARKET_PACK or base in MARKET_FEATURES or AT in base:
            raise EntryError(f"{setting!r}: write a feature, @, and a timeframe or a symbol, such as change_1@1h")
        return tuple(f"{feature}{AT}{as_timeframe(where) or where}" for feature in expand_feature(base))
    if named := _named(setting):
        return named
    path, name = split_reference(setting)
    if path is not None:
        _check_names(path, [_feature_at(path, name)])
        return (setting,)
    if is_import_path(setting):
        found = features_at(setting)
        _check_names(setting, found.values())
        return tuple(f"{setting}[{name}]" for name in found)
    known = [*FEATURES, *PACKS, MARKET_PACK]
    raise EntryError(
        f"unknown feature {setting!r}{did_you_mean(setting, known)} "
        f"(packs: {', '.join((*PACKS, MARKET_PACK))}; the features of each are in transforms/README.md)"
    )


def _named(name: str) -> tuple[str, ...]:
    """Return the features that the name of a pack or of a feature stands for, none where it is neither."""
    if name in PACKS:
        return tuple(feature.name for feature in PACKS[name])
    if name == MARKET_PACK:
        return MARKET_FEATURES
    return (name,) if name in FEATURES or name in MARKET_FEATURES else ()


def resolve_features(features: Iterable[str]) -> tuple[Feature, ...]:
    """Return the features that a model's names and references stand for, of whatever bars they are made.

    Those of the market are made of none.

    Raises:
        EntryError: there is no such feature, or the module of a reference is not here.
    """
    resolved = []
    for feature in features:
        path, name = split_reference(split_origin(feature)[0])
        if name in MARKET_FEATURES:
            continue
        if path is not None:
            resolved.append(_feature_at(path, name))
        elif name in FEATURES:
            resolved.append(FEATURES[name])
        else:
            raise EntryError(f"unknown feature {name!r}{did_you_mean(name, FEATURES)}")
    return tuple(resolved)


def reads_flow(features: Iterable[Feature]) -> bool:
    """Return whether any feature reads one of the columns of `transforms.bars.FLOW`."""
    return any(not set(FLOW).isdisjoint(feature.inputs) for feature in features)


@cache
def flow_is_read(names: tuple[str, ...]) -> bool:
    """Return whether `reads_flow` is true of the features of these names; raises as `resolve_features`."""
    return reads_flow(resolve_features(names))


@cache
def features_at(path: str) -> Mapping[str, Feature]:
    """Return the features at an import path by name: one, or all of an iterable or of a mapping's values.

    Raises:
        EntryError: nothing is there, or something else than features, or two of one name.
    """
    found = import_entry(path)
    values = found.values() if isinstance(found, Mapping) else found
    features = [values] if isinstance(values, Feature) else [*values] if isinstance(values, Iterable) else [values]
    if not features:
        raise EntryError(f"{path} holds no feature: put some into it")
    named: dict[str, Feature] = {}
    for feature in features:
        if not isinstance(feature, Feature):
            raise EntryError(
                f"{path}: expected a Feature of transforms.features.feature, or an iterable or mapping of them, "
                f"got {type(feature).__name__} {feature!r:.60}"
            )
        if feature.name in named:
            raise EntryError(f"{path}: two features are named {feature.name!r}: rename one")
        named[feature.name] = feature
    return named


def _feature_at(path: str, name: str) -> Feature:
    found = features_at(path)
    if name not in found:
        raise EntryError(f"{path} has no feature {name!r}{did_you_mean(name, found)} (it has {first_of(found)})")
    return found[name]


def _check_names(path: str, features: Iterable[Feature]) -> None:
    """Refuse names of a user's features that mean something else already."""
    for name in (feature.name for feature in features):
        if not re.fullmatch(r"[\w.\-]+", name):
            raise EntryError(f"{path}: feature name {name!r}: use letters, digits, _, . and - only")
        if _named(name):
            raise EntryError(f"{path}: a feature of this project is named {name!r} too: rename yours")
        if name in SAMPLE_COLUMNS:
            raise EntryError(f"{path}: a column of bars or samples is named {name!r} too: rename the feature")

"""What each setting affects: every field says it itself, and fingerprints do as it says."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from job.config.overrides import merge
from job.config.sections import Affects, AffectsModel, Section, fields_that_affect
from job.config.settings import Config, DataSettings, load_config
from job.config.trainer import TradingSettings, TrainerSettings
from job.core.errors import ConfigError
from job.core.keys import Key
from job.learning.spec import ModelSpec
from job.registry import fingerprints
from job.registry.definition import SAMPLING
from job.registry.fingerprints import Recipe, listing_fingerprint
from job.sources.series import Series, SourceFile
from job.train.plan import plan_tasks

CONTEXT = {"timeframes": ["4h"]}
SCALPER = {"timeframes": ["1m"], "algorithm": "lightgbm", "label": "direction(5)", "context": CONTEXT}
KINDS = ("analyst_models", "tactician_models", "models.scalper")
VALUES = (
    *(["A"], True, False, 3, 7, 0.25, 0.05, "2024-01-01", "1h", ["1h"], ["change_1"], {"a": "b"}),
    {"A": {"2024-01-01": 2}},
    {"random_forest": {"max_depth": [2, 3]}},
    "latest",
    *("random_forest", "logistic_regression", "direction(3)", "sklearn", "timeframe", "exchange,timeframe"),
    *(
        "close",
        "ignore",
        "none",
        "uniqueness",
        "debug",
        "pkl",
        "fresher",
        "flag",
        "sequential",
        "day_first",
        "last",
        "comma",
        "other",
        "json",
        "figures.prom",
    ),
)
"""Other values for settings: of these, the first that a setting takes and that is another one than its own."""


def sections_in(annotation: Any) -> list[type[Section]]:
    """Return the sections that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        assert issubclass(annotation, Section)
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_in(part)]


def leaves(section: type[Section], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every setting below a section that is none itself, by its dotted key."""
    for name, field in section.model_fields.items():
        inner = sections_in(field.annotation)
        own = f"{path}{name}" + (".scalper" if get_origin(field.annotation) is dict and inner else "")
        for one in inner:
            yield from leaves(one, f"{own}.")
        if not inner:
            yield own, field


LEAVES = dict(leaves(Config))


def marks(field: FieldInfo) -> list[Affects]:
    return [mark for mark in field.metadata if isinstance(mark, Affects)]


@pytest.mark.parametrize("key", LEAVES)
def test_every_setting_says_what_it_affects(key: str) -> None:
    assert len(marks(LEAVES[key])) == 1, f"{key}: annotate the field with one of the Affects… of job.config.sections"


def test_a_setting_without_a_mark_is_found() -> None:
    class Longer(DataSettings):
        marked: AffectsModel[int] = 1
        unmarked: int = Field(default=1)

    assert {key for key, field in leaves(Longer) if not marks(field)} == {"unmarked"}
    assert fields_that_affect(Longer, Affects.MODEL) - fields_that_affect(DataSettings, Affects.MODEL) == {"marked"}


def settings(group_by: str, changes: Mapping[str, Any]) -> Config:
    kinds = {key: {"context": CONTEXT} for key in ("analyst_models", "tactician_models")}
    values: dict[str, Any] = {
        "model_trainer": {"models": {"scalper": SCALPER}, "group_by": group_by, **kinds},
        "ray": {"workers": {"most": 2, "cpus": 2, "memory_gib": 2}},
    }
    for key, value in changes.items():
        values = merge(values, key, value)
    return load_config(values)


def other_value(key: str, group_by: str) -> Any:
    """Return a value for a setting that is not its own; where none is found, one belongs into `VALUES`."""
    before = settings(group_by, {})
    for value in VALUES:
        try:
            changed = settings(group_by, {key: value})
            list(changed.model_specs())
        except ConfigError:
            continue
        if changed != before:
            return value
    raise AssertionError(f"{key} takes none of {VALUES}: add a value that it takes")


SERIES = tuple(
    Series("binance", symbol, "1m", (SourceFile(f"/bars/{symbol}.csv", 9, "today", "csv"),)) for symbol in ("A", "B")
)


def digests(config: Config) -> tuple[dict[Key, str], list[str | None]]:
    """Return the fingerprints of all models, and those of the files that they are made from."""
    models = {task.key: task.fingerprint(config, "bars") for task in plan_tasks(SERIES, config, SERIES)}
    return models, [listing_fingerprint(one, config.data) for one in SERIES]


@pytest.mark.parametrize("key", LEAVES)
def test_a_change_of_a_setting_changes_what_it_says_that_it_affects(key: str) -> None:
    (affects,) = marks(LEAVES[key])
    changed_models, changed_listings = set(), set()
    for group_by in ("exchange,symbol,timeframe", "timeframe"):
        models, listings = digests(settings(group_by, {}))
        models_after, listings_after = digests(settings(group_by, {key: other_value(key, group_by)}))
        changed_models |= {one for one in models.keys() & models_after.keys() if models[one] != models_after[one]}
        changed_listings.add(listings != listings_after)
    assert bool(changed_models) == (affects in {Affects.MODEL, Affects.SAMPLING})
    assert changed_listings == {affects is Affects.READING}
    if changed_models and any(f".{kind}." in key for kind in KINDS):
        assert len({one.model_type for one in changed_models}) == 1


@pytest.mark.parametrize(("lookback_days", "changes"), [(None, False), (7, True)])
def test_the_end_decides_a_model_only_where_days_are_counted_back_from_it(
    lookback_days: float | None, changes: bool
) -> None:
    one, other = (
        digests(settings("timeframe", {"data.lookback_days": lookback_days, "data.end": end}))[0]
        for end in ("2024-01-01", "2024-02-01")
    )
    assert all((one[key] != other[key]) == changes for key in one)


def test_all_that_determines_a_model_is_marked_so() -> None:
    trainer = fields_that_affect(TrainerSettings, Affects.MODEL)
    kind = fields_that_affect(type(TrainerSettings().analyst_models), Affects.MODEL)
    decided = {"pool_engine"}  # by the driver, from `engine`
    assert trainer | kind | decided == {*ModelSpec.model_fields, "max_samples", "samples_per_worker"}
    assert not trainer & kind


def test_marks_divide_the_settings_of_the_data() -> None:
    assert {"max_fill", "min_coverage", "gaps"} == SAMPLING
    assert SAMPLING | {"start", "lookback_days"} == fingerprints.MODEL
    assert {
        *("format", "columns", "timezone", "dates", "bar_time", "timeframe", "end", "max_rejected", "duplicates"),
        *("decimal", "splits"),
    } == fingerprints.READING  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "more", "expected"),
    [
        (
            {},
            {},
            {
                "analyst 1h": "f6d1e099afbcd4e4",
                "analyst 15m": "1d161264d18dbfd4",
                "analyst 5m": "29378ca895d2c11d",
                "analyst 1m": "2e5605b0d0354b67",
                "tactician 1m": "ee4a39f19dff3eba",
            },
        ),
        (
            {"data": {"start": "2024-01-01", "end": "2024-02-01", "lookback_days": 7, "max_fill": 3}},
            {},
            {
                "analyst 1h": "bbb1732b56f4c0b1",
                "analyst 15m": "f558a51c2b4fa061",
                "analyst 5m": "c9b34050829e6811",
                "analyst 1m": "60a9ab826739cde6",
                "tactician 1m": "209e2c556ce68046",
            },
        ),
        (
            {},
            {"max_samples": 10, "trading": TradingSettings(cost_bps=5)},
            {
                "analyst 1h": "f218a423f5ae8bbf",
                "analyst 15m": "fc01fb3577b1c508",
                "analyst 5m": "61d2eab69885b8c4",
                "analyst 1m": "b2ec212e4970ce42",
                "tactician 1m": "2ecc6451a8e178fe",
            },
        ),
    ],
    ids=["by default", "a range", "pooled, traded"],
)
def test_fingerprints_are_those_of_earlier_releases(
    changes: dict[str, Any], more: dict[str, Any], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every model of every registry is trained again: so it is meant to be only where a definition changed."""
    monkeypatch.setattr(fingerprints, "versions", lambda *_: {"numpy": "1", "code": "x"})
    config = load_config(changes)
    found = {
        f"{model_type} {timeframe}": Recipe(spec, timeframe=timeframe, data=config.data, **more).fingerprint("bars")
        for model_type, timeframe, spec in config.model_specs()
    }
    assert {model: digest[:16] for model, digest in found.items()} == expected

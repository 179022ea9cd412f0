"""Fingerprints, by which a rerun recognizes what need not be done again: of a model, of predictions, of files."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, Final

from job.config.sections import Affects, fields_that_affect
from job.config.settings import DataSettings
from job.config.trainer import TradingSettings
from job.core.environment import code_digest, installed, versions
from job.core.keys import Key
from job.core.paths import redact_url
from job.learning.context import AT, split_origin
from job.learning.estimators import algorithm_named, libraries_of, user_source
from job.learning.spec import POOL, ModelSpec
from job.learning.weights import DEFINITION as WEIGHTS
from job.sources.series import Series
from transforms.bars import duration_us
from transforms.context import MARKET_FEATURES
from transforms.features import FEATURES
from transforms.grids import WEEK

DEFINITIONS: Final = {"samples": 1, "split": 1, "training": 1}
"""Versions of what has none of its own, each raised whenever the same input gives other numbers.

`samples`: resampling, filling, segments, warm-up. `split`: folds, holdout, purge, thinning of pools. `training`:
scaling, shrinking, importances, the skill over the base rate and the benchmark. Entries of `learning.metrics.SCORES`
have versions of their own, which enter no fingerprint: a model is the same however it is scored.
"""

TRADING: Final = 4
"""Version of trading scores, raised whenever the same bars and probabilities give others; it enters the fingerprints of
models that are scored by trading."""

CONTEXT: Final = 1
"""Version of how other bars stand beside a model's own, and of the market; it enters the fingerprints of models that
see any."""

POOLING: Final = 1
"""Version of how a blend's pooled member is fitted, raised whenever the same bars give another one."""

SESSIONS: Final = "-sessions"
"""Mark on the digest of bars that are taken for those of a market with sessions; to be changed whenever the same bars
then give other samples."""

PREDICTIONS: Final = 1
"""Version of what a file of predictions holds, given a model and bars; raised whenever that changes."""

CONTENT: Final = "\0content"
"""What stands for the digest of the bars in a recipe: no setting holds it."""

MODEL: Final = fields_that_affect(DataSettings, Affects.MODEL, Affects.SAMPLING)
"""Settings of the data that decide which of a series' bars become samples."""
READING: Final = fields_that_affect(DataSettings, Affects.READING)
"""Settings of the data that decide which bars are read from a series' files."""


@dataclass(frozen=True)
class Recipe:
    """All that decides a model's numbers but its bars: models of one kind and timeframe share it.

    Args:
        spec: the model's definition.
        timeframe: of the model.
        data: settings, of which those in `MODEL` count.
        max_samples: of a pooled model, which may be thinned to it.
        samples_per_worker: of a pooled model that may be spread over workers, which changes its last digits; None
            changes no fingerprint.
        trading: adds scores to a version's metadata, so a version without them is another; None changes no fingerprint.
    """

    spec: ModelSpec
    _: KW_ONLY
    timeframe: str
    data: DataSettings
    max_samples: int | None = None
    samples_per_worker: int | None = None
    trading: TradingSettings | None = None

    def fingerprint(self, content: str) -> str:
        """Return the SHA-256 of it and the digest of the canonical bars, which also says where `data.end` cut them."""
        before, after = self._around_content
        return hashlib.sha256(f"{before}{json.dumps(content)}{after}".encode()).hexdigest()

    def definition(self) -> str:
        """Return the SHA-256 of it alone; where `data.end` cuts bars does not count, as that says which bars there are.

        A fingerprint has what `auto` finds from the digest of the bars; without bars, the setting stands for it.
        """
        endless = self.data.model_copy(update={"end": None})
        return _digest(self._parts() | {"bars": _decisive(endless), "gaps": self.data.gaps})

    @cached_property
    def _around_content(self) -> tuple[str, str]:
        """Its text before and after the digest of the bars; making it takes many times longer than a fingerprint."""
        parts = self._parts() | {"bars": _decisive(self.data), "content": CONTENT}
        before, _, after = _text(parts).partition(json.dumps(CONTENT))
        return before, after

    def _parts(self) -> dict[str, Any]:
        """Return what decides a model's numbers, but for its bars and the settings that say which of them count."""
        spec = self.spec
        sources = spec.sources()
        named = {one.algorithm: one for one in spec.members} | ({POOL: spec.pooled} if spec.pooled else {})
        members = {  # the rest that decides them is in the spec
            name: {"version": algorithm_named(one.algorithm).version, "source": user_source(one.algorithm)}
            for name, one in named.items()
        }
        trading = {**self.trading.model_dump(mode="json"), "version": TRADING} if self.trading else None
        return {
            "spec": spec.model_dump(mode="json"),
            "features": {
                name: FEATURES[base].version for name in spec.features if (base := split_origin(name)[0]) in FEATURES
            },
            "label_version": spec.label.version,
            "algorithm_version": algorithm_named(spec.algorithm).version,
            "definitions": DEFINITIONS | _of_weeks(self.timeframe),
            "timeframe": self.timeframe,
            "max_samples": self.max_samples,
            **({"samples_per_worker": self.samples_per_worker} if self.samples_per_worker else {}),
            "libraries": {name: number for name, number in versions(*libraries_of(spec)).items() if name != "code"},
            **({"trading": trading} if trading else {}),
            **({"context": CONTEXT} if any(AT in name or name in MARKET_FEATURES for name in spec.features) else {}),
            **({"weights_version": WEIGHTS} if spec.weights else {}),
            **({"sources": sources} if sources else {}),
            **({"algorithm_source": source} if (source := user_source(spec.algorithm)) else {}),
            **({"members": members} if members else {}),
            **({POOL: POOLING} if spec.pooled else {}),
        }


def prediction_fingerprints(wanted: Iterable[tuple[Key, str]], data: DataSettings) -> dict[tuple[Key, str], str]:
    """Return, of each version of a model, the SHA-256 of everything but the bars that decides what it predicts.

    The version stands for its features: it never changes, its metadata holds their definitions, and `Definition.of`
    refuses it where they are defined otherwise. Features that it does not use do not matter.
    """
    same = {
        "bars": _decisive(data),
        "libraries": {name: number for name, number in versions().items() if name != "code"},
    }
    definitions = {"samples": DEFINITIONS["samples"], "predictions": PREDICTIONS}
    return {
        (model, version): _digest(
            {
                "model": [model.exchange, model.symbol, model.timeframe, model.model_type, version],
                "definitions": definitions | _of_weeks(model.timeframe),
                **same,
            }
        )
        for model, version in wanted
    }


def _of_weeks(timeframe: str) -> dict[str, int]:
    """Version of how weeks are made, which begin on Monday since 1 and did not before; nothing for shorter bars."""
    return {} if duration_us(timeframe) % WEEK else {"weeks": 1}


def _decisive(data: DataSettings) -> dict[str, Any]:
    """Return the settings that decide which bars count: `end`, too, where `lookback_days` counts back from it.

    What `auto` finds in the bars is part of their digest: it is marked where they have sessions. Without, gaps cut.
    """
    decisive = MODEL if data.lookback_days is None else MODEL | {"end"}
    settings = data.model_dump(mode="json", include={*decisive})
    return settings | {"gaps": "ignore" if data.gaps == "ignore" else "segment"}


def mark_sessions(digest: str) -> str:
    """Return the digest of bars that are taken for those of a market with sessions, which gives other samples.

    The digest of the bars alone decides, so that a run knows it from a listing, without reading the bars.
    """
    return bare_digest(digest) + SESSIONS


def joined_digest(digest: str, other: str) -> str:
    """Return the digest of bars together with that of what a model sees beside them, marked as it was."""
    both = hashlib.sha256(f"{bare_digest(digest)} {other}".encode()).hexdigest()
    return mark_sessions(both) if has_sessions(digest) else both


def has_sessions(digest: str) -> bool:
    """Return whether a digest is that of bars which are taken for those of a market with sessions."""
    return digest.endswith(SESSIONS)


def bare_digest(digest: str) -> str:
    """Return the digest of the bars, however their gaps are understood."""
    return digest.removesuffix(SESSIONS)


def digest_for(digest: str, data: DataSettings) -> str:
    """Return what is known of bars, marked where they have sessions, as `data.gaps` wants it."""
    if data.gaps == "auto":
        return digest
    return mark_sessions(digest) if data.gaps == "sessions" else bare_digest(digest)


def pooled_content(digests: Iterable[str]) -> str:
    """Return the digest of several series' bars, given in the order of the series' names."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def listing_fingerprint(series: Series, data: DataSettings, *, flow: bool = False) -> str | None:
    """Return the fingerprint of a series' files, see `listing_fingerprints`."""
    return listing_fingerprints([(series, flow)], data)[series, flow]


def listing_fingerprints(
    wanted: Iterable[tuple[Series, bool]], data: DataSettings
) -> dict[tuple[Series, bool], str | None]:
    """Return the SHA-256 of what the bars of each series are read from, and how: files, settings, and the reading code.

    With a series stands whether the columns of `transforms.bars.FLOW` are read, too.

    A file is its address, size and stamp (ETag or time of change). None if the storage gives a file no stamp, since
    nothing else would show a change. A better reader may find other bars in the same files, so its code counts, too.
    """
    common = _how_read(data)
    return {
        (series, flow): _digest(
            {
                "files": [[redact_url(one.url), one.member, one.size, one.stamp, one.format] for one in series.files],
                **common,
                **_which_rows(series, flow=flow),
            }
        )
        if all(file.stamp for file in series.files)
        else None
        for series, flow in wanted
    }


def reading_fingerprint(series: Series, data: DataSettings, *, flow: bool) -> str:
    """Return the SHA-256 of how the bars of `series` are read, from whatever files: settings, and the reading code."""
    return _digest({**_how_read(data), **_which_rows(series, flow=flow)})


def _how_read(data: DataSettings) -> dict[str, Any]:
    return {
        "settings": data.model_dump(mode="json", include={*READING}),
        "reader": [
            code_digest("job/sources", "transforms/bars.py", "transforms/grids.py", "transforms/sessions.py"),
            installed("polars"),
            installed("pyarrow"),
        ],
    }


def _which_rows(series: Series, *, flow: bool) -> dict[str, Any]:
    return {
        "columns": [series.symbol_column, series.exchange_column, series.timeframe_column],
        "series": [series.exchange, series.symbol, series.timeframe],
        **({"flow": True} if flow else {}),
    }


def _digest(parts: dict[str, Any]) -> str:
    return hashlib.sha256(_text(parts).encode()).hexdigest()


def _text(parts: dict[str, Any]) -> str:
    return json.dumps(parts, sort_keys=True)

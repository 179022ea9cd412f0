"""What a version's metadata says of its model's samples: features, label, and how bars became samples."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

import polars as pl

from job.config.sections import Affects, fields_that_affect
from job.config.settings import DataSettings, GapsSetting
from job.core.entries import EntryError, is_import_path, source_digest, sources
from job.core.errors import DataError, RegistryError
from job.core.wording import did_you_mean
from job.learning.context import AT, Origins, origins, split_origin
from job.learning.features import resolve_features, split_reference
from job.learning.labels import parse_label
from job.registry.fingerprints import CONTEXT
from job.registry.model_age import label_end_of
from transforms.bars import Gaps, duration_us
from transforms.clock import clock_columns
from transforms.context import MARKET_FEATURES, Beside
from transforms.features import FEATURES
from transforms.features.compute import available
from transforms.features.feature import Feature
from transforms.labels import Label
from transforms.preparing import OnGrid, Preparation
from transforms.samples import UnlabeledSamples, make_features
from transforms.sessions import Sessions, find_sessions

SAMPLING: Final = fields_that_affect(DataSettings, Affects.SAMPLING)
"""Settings of the data that a model's bars must be made with, whatever the range."""
CALLER: Final = "caller"
"""`source` of a label that the caller of `RayModelTrainer.train_model` gave, together with the features."""
DEFINING: Final = ("version", "inputs", "lookback", "warmup")
"""What must be equal for two features of one name to be the same, and `context` for two of other bars."""
REMEDY: Final = "retrain the model, or restore the module"
"""What to do where the source of a user's feature or label is gone or has changed."""


@dataclass(frozen=True)
class Definition:
    """The samples of one version: what bars of `timeframe` must be turned into before its model sees them.

    `model_features` are names and references (see `job.learning.features`), in the order of the model's columns;
    `version` is for messages. `gaps` is how the gaps of the bars were understood that it was trained on, and `sessions`
    holds the hours that were found in them by series, None where one has none; `auto` stands for a model over several
    series of which some have. `gaps_beside` is how those of other series were to be understood, `members` how many
    series there were in the market that it saw, `sequence_bars` how many bars it sees at once. `label_end` is when the
    last label was known that it was trained or chosen on, None where its metadata does not say.
    """

    version: str
    timeframe: str
    model_features: tuple[str, ...]
    label: Label
    max_fill: int
    min_coverage: float
    gaps: GapsSetting
    sessions: Mapping[str, Sessions | None] = field(default_factory=dict)
    gaps_beside: GapsSetting = "auto"
    members: int = 0
    sequence_bars: int = 1
    label_end: datetime | None = None

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features of its own bars, which are those of the model's training."""
        return resolve_features(self.origins.own)

    @property
    def origins(self) -> Origins:
        """The features by the bars that they are made of."""
        return origins(self.model_features)

    @property
    def names(self) -> tuple[str, ...]:
        """The model's columns."""
        return tuple(split_reference(feature)[1] for feature in self.model_features)

    @classmethod
    def of(cls, metadata: Mapping[str, Any], data: DataSettings, *, where: str) -> Self:
        """Read a version's metadata; `where` names the version in messages.

        Metadata of early releases lacks `SAMPLING`: then the settings in `data` are taken.

        Raises:
            RegistryError: the features or the label are not defined here as they were at training, or were made by the
                caller; or the metadata does not say what the model was trained on.
        """
        if metadata.get("label", {}).get("source") == CALLER:
            raise RegistryError(
                f"{where} was trained on samples of its caller's own, which cannot be made from bars here: "
                "make its features and use load_model"
            )
        try:
            defined = label_definition(metadata["label"])
            if is_import_path(kind := str(defined["kind"])):
                _check_source(f"the label {kind}", kind, str(metadata["label"]["source_digest"]), where)
            label = parse_label(defined)
            features = tuple(_feature(entry, where) for entry in metadata["features"])
            settings = data.model_dump(include={*SAMPLING}) | dict(metadata["data"].get("sampling", {}))
            if "sampling" not in metadata["data"] and settings["gaps"] != "ignore":
                settings["gaps"] = "segment"  # early releases knew no other
            sessions = {
                series: None if hours is None else Sessions.of_record(hours)
                for series, hours in metadata["data"].get("sessions", {}).items()
            }
            beside = metadata["data"].get("context", {})
            fitted = [metadata, *metadata.get("blend", {}).get("members", {}).values()]
            return cls(
                metadata["version"],
                metadata["key"]["timeframe"],
                features,
                label,
                **settings,
                sessions=sessions,
                gaps_beside=beside.get("gaps", "auto"),
                members=int(beside.get("members", 0)),
                sequence_bars=max(int(one.get("parameters", {}).get("sequence_bars", 1)) for one in fitted),
                label_end=label_end_of(metadata),
            )
        except EntryError as error:
            raise RegistryError(f"{where}: {error}; {REMEDY}") from None
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise RegistryError(
                f"{where}: its metadata does not say what the model was trained on ({type(error).__name__}: {error}); "
                "retrain the model"
            ) from None

    def preparation(self, bars: pl.DataFrame, grid: OnGrid, *, name: str = "bars") -> Preparation:
        """Return how the bars of a series become those of the model's timeframe; the arguments as in `features_of`.

        Gaps mean what they meant when the model was trained. One over several series may be given another one, whose
        own bars tell then, if they are enough.
        """
        known = next(filter(None, self.sessions.values()), None) if self.gaps == "sessions" else None
        gaps: Gaps
        if self.gaps in {"segment", "ignore"}:
            gaps = self.gaps
        elif name in self.sessions:
            gaps = self.sessions[name] or "segment"
        elif known is not None and len(self.sessions) == 1:
            gaps = known
        else:
            times = bars["timestamp"].to_physical().to_numpy()
            gaps = find_sessions(times, duration_us(grid.timeframe), grid.zone) or known or "segment"
        return Preparation(
            source=grid.timeframe,
            timeframe=self.timeframe,
            offset_us=grid.offset_us,
            zone=grid.zone,
            max_fill=self.max_fill,
            min_coverage=self.min_coverage,
            gaps=gaps,
        )

    def features_of(
        self,
        bars: pl.DataFrame,
        grid: OnGrid,
        *,
        start: datetime | None = None,
        name: str = "bars",
        beside: Sequence[Beside] = (),
    ) -> UnlabeledSamples:
        """Make the features of every bar from `start` on that can be scored; see `transforms.samples.make_features`.

        Args:
            bars: clean, of one series; earlier ones warm up.
            grid: of the bars, as `transforms.bars.clean` found it.
            start: open time of the first bar to be scored, None for all.
            name: of the series, `exchange/symbol`; for messages, and to know its sessions by.
            beside: the columns of other bars that the model sees.

        Raises:
            DataError: the timeframe cannot be made from these bars, or lack a column that the model needs.
        """
        how = self.preparation(bars, grid, name=name)
        columns = (*bars.columns, *clock_columns(how.gaps))
        if absent := available(self.features, columns)[1]:
            missing = sorted({column for one in self.features for column in one.inputs}.difference(columns))
            raise DataError(
                f"{name} {self.timeframe}: {self.version} was trained on {', '.join(absent)}, and these bars have no "
                f"{' and no '.join(missing)}: give bars that have, or retrain the model on these"
            )
        try:
            return make_features(
                bars,
                how,
                features=self.features,
                start=start,
                beside=beside,
                sequence_bars=self.sequence_bars,
            )
        except ValueError as error:
            raise DataError(f"{name} {self.timeframe}: {error}") from None


def describe_sampling(sessions: Mapping[str, Sessions | None], data: DataSettings) -> dict[str, Any]:
    """Return what the metadata keeps of how bars became samples, given the sessions of each series.

    `sampling` are the settings, of which `gaps` says what was decided: `auto` only where series differ. `sessions` are
    the hours by series, where any has some.
    """
    sampling = data.model_dump(include={*SAMPLING})
    if not any(sessions.values()):
        return {"sampling": sampling | {"gaps": "ignore" if data.gaps == "ignore" else "segment"}}
    hours = {series: one and one.record() for series, one in sessions.items()}
    return {"sampling": sampling | {"gaps": "sessions" if all(hours.values()) else "auto"}, "sessions": hours}


def describe_feature(feature: str) -> dict[str, Any]:
    """Return what the metadata keeps of one of a model's features: the name alone of one that its caller made.

    A feature of a user's module has its `import_path` and the `source_digest` of the module, too.
    """
    path, name = split_reference(feature)
    base, where = split_origin(name)
    context = {"context": CONTEXT} if where is not None or name in MARKET_FEATURES else {}
    if path is None and base not in FEATURES:
        return {"name": name, **context}
    (known,) = resolve_features([feature])
    origin = {} if path is None else {"import_path": path, "source_digest": source_digest(path)}
    defining = {what: getattr(known, what) for what in DEFINING} | context
    lists = {what: list(value) for what, value in defining.items() if isinstance(value, tuple)}  # as JSON has them
    return {"name": name, **origin, **defining, **lists}


def _feature(entry: Mapping[str, Any], where: str) -> str:
    """Return the feature that an entry of the metadata names, which must be defined here as at training."""
    name = str(entry["name"])
    base, where_from = split_origin(name)
    if "import_path" in entry:
        feature = f"{entry['import_path']}[{base}]" + (f"{AT}{where_from}" if where_from else "")
        _check_source(f"the feature {name}", str(entry["import_path"]), str(entry["source_digest"]), where)
    elif base in FEATURES or name in MARKET_FEATURES:
        feature = name
    else:
        raise RegistryError(
            f"{where} was trained on the feature {name!r}, which this release does not make"
            f"{did_you_mean(name, FEATURES)}; retrain the model"
        )
    here = describe_feature(feature)
    for what in (*DEFINING, "context"):
        if what in entry and entry[what] != here[what]:
            raise RegistryError(
                f"{where} was trained on the feature {name} of {what} {_words(entry[what])}, this release makes "
                f"{what} {_words(here[what])}; retrain the model"
            )
    return feature


def label_definition(stats: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the definition of a label, of its statistics in metadata; a pooled model has it once per series."""
    one = next(iter(stats["series"].values())) if "series" in stats else stats
    found: Mapping[str, Any] = one["definition"]
    return found


def _check_source(what: str, path: str, digest: str, where: str) -> None:
    """Refuse a version whose features or label come from a module that is absent here, or has changed.

    Nothing is imported. Anyone who can write to the registry writes what metadata says, so of all modules here it can
    name only those whose source names `transforms`, as modules of features and labels do.
    """
    module = path.partition(":")[0]
    claim = f"{where} was trained on {what} of module {module}"
    here = sources(path) if is_import_path(path) else {}
    if not here:
        raise RegistryError(f"{claim}, of which there is no source on node {platform.node()}: {REMEDY}")
    if (digest_here := source_digest(path)) != digest:
        raise RegistryError(f"{claim}, whose source has changed since ({digest:.12} then, {digest_here} now): {REMEDY}")
    if not any(b"transforms" in source for source in here.values()):
        raise RegistryError(f"{claim}, which uses no Feature or Label of transforms: {REMEDY}")


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)

"""Studies of `tune`: what was tried, and what was chosen. Every file is created once and never rewritten.

    tuning/pooled/all/analyst_15m_1f0c…/study.json            what is tried on which bars; its digest is in the name
    tuning/pooled/all/analyst_15m_1f0c…/trials/00007.json     a finished trial
    tuning/pooled/all/analyst_15m_1f0c…/winner-00020.json     what was chosen after so many trials

A study of one series has that series' folder in place of `pooled/all`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeVar

from job.core.errors import RegistryError
from job.core.keys import ALL, POOLED, Key
from job.learning.choice import Choice, Trial
from job.storage.files import ExistingFileError, MissingFileError, Storage

Kept = TypeVar("Kept")

FOLDER: Final = "tuning"
WINNER: Final = re.compile(r"tuning/[^/]+/[^/]+/(?P<study>(?P<stem>.+)_[0-9a-f]{16})/winner-\d{5}\.json")


def fleet_key(key: Key) -> Key:
    """Return the key of the study whose winner holds for all series."""
    return Key(POOLED, ALL, key.timeframe, key.model_type)


def study_title(key: Key) -> str:
    """Return what a study is about: `analyst 15m` of all series, `binance/BTCUSDT analyst 15m` of one."""
    return str(key) if key != fleet_key(key) else f"{key.model_type} {key.timeframe}"


@dataclass(frozen=True)
class StudyFolder:
    """A study in a registry: `key` is a model's, or `fleet_key` of many, `definition` what it tries and on what."""

    registry: Storage
    key: Key
    definition: dict[str, Any]

    @property
    def name(self) -> str:
        """Such as `analyst_15m_1f0c…`: another definition is another study."""
        digest = hashlib.sha256(json.dumps(self.definition, sort_keys=True).encode()).hexdigest()
        return f"{self.key.stem}_{digest[:16]}"

    @property
    def path(self) -> str:
        """Its folder."""
        return f"{FOLDER}/{self.key.folder}/{self.name}"

    def open(self) -> dict[int, Trial]:
        """Write what it is about, unless that is written, and return the trials that are finished, by number.

        Raises:
            RegistryError: a file is damaged.
        """
        self._create("study.json", {"schema_version": 1, "key": asdict(self.key), "definition": self.definition})
        found = {}
        for path, data in self.registry.read_many(self.registry.list(f"{self.path}/trials")).items():
            trial = _parse(path, data, Trial)
            found[trial.number] = trial
        return dict(sorted(found.items()))

    def add(self, trial: Trial) -> None:
        """Keep a finished trial.

        Raises:
            ExistingFileError: it is kept already, and came to something else.
        """
        self._create(f"trials/{trial.number:05d}.json", asdict(trial))

    def winner(self, trials: int) -> "Winner | None":
        """Return what was chosen after so many trials, None if nothing was so far."""
        path = self._winner_path(trials)
        try:
            return _parse(path, self.registry.read(path), Winner)
        except MissingFileError:
            return None

    def choose(self, winner: "Winner") -> "Winner":
        """Keep what was chosen after all its trials, and return it, as it was first chosen."""
        with suppress(ExistingFileError):
            self.registry.create(self._winner_path(winner.trials), _text(asdict(winner)))
        return self.winner(winner.trials) or winner

    def _winner_path(self, trials: int) -> str:
        return f"{self.path}/winner-{trials:05d}.json"

    def _create(self, name: str, document: Mapping[str, Any]) -> None:
        self.registry.create(f"{self.path}/{name}", _text(document))


@dataclass(frozen=True)
class Winner:
    """What a study chose: `params` of trial number `winner`, none for the default, trial 0.

    `spec` is the default that it was compared with (JSON values); it holds for models of exactly these settings.
    `gain` is that of the `best` trial over the default in nats per row, with its standard `error`; it had to exceed
    `required`.
    """

    study: str
    exchange: str
    symbol: str
    timeframe: str
    model_type: str
    trials: int
    pruned: int
    failed: int
    series: int
    winner: int
    params: dict[str, Any]
    best: int
    best_params: dict[str, Any]
    gain: float
    error: float | None
    required: float | None
    spec: dict[str, Any]
    chosen_at: str

    @property
    def key(self) -> Key:
        """The model that it is for, or `fleet_key` of many."""
        return Key(self.exchange, self.symbol, self.timeframe, self.model_type)

    @classmethod
    def of(cls, study: StudyFolder, trials: Iterable[Trial], choice: Choice) -> Self:
        """Return what is kept of a choice among all the trials of a study."""
        known = {trial.number: trial for trial in trials}
        states = [trial.state for trial in known.values()]
        return cls(
            study=study.name,
            **asdict(study.key),
            trials=len(known),
            pruned=states.count("pruned"),
            failed=states.count("failed"),
            series=len(known[0].losses),
            winner=choice.winner,
            params=known[choice.winner].params,
            best=choice.best,
            best_params=known[choice.best].params,
            gain=choice.gain.mean,
            error=choice.gain.error,
            required=choice.required,
            spec=study.definition["spec"],
            chosen_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        )

    def record(self) -> dict[str, Any]:
        """Return what the metadata of a model that was trained with it keeps, as JSON values."""
        return {"study": self.study, "trials": self.trials, "winner": self.winner, "params": self.params}


def read_winners(registry: Storage) -> dict[Key, Winner]:
    """Return, by the key of their studies, what was chosen last.

    Raises:
        RegistryError: a file is damaged.
    """
    paths = [path for path in registry.list(FOLDER) if WINNER.fullmatch(path)]
    winners = [_parse(path, data, Winner) for path, data in registry.read_many(paths).items()]
    return {one.key: one for one in sorted(winners, key=lambda one: (one.chosen_at, one.trials))}


def _text(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False, ensure_ascii=False).encode()


def _parse(path: str, data: bytes, kind: Callable[..., Kept]) -> Kept:
    try:
        return kind(**json.loads(data))
    except (ValueError, TypeError):
        raise RegistryError(f"{path} is damaged: delete the study's folder, and tune again") from None

"""Models whose parameters were chosen by a study of `tune`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from job.config.settings import Config
from job.core.errors import ConfigError
from job.core.keys import Key
from job.core.wording import first_of
from job.registry.catalog import open_registry
from job.registry.studies import fleet_key, read_winners
from job.train.task import Task


def with_winners(tasks: Sequence[Task], config: Config) -> tuple[tuple[Task, ...], tuple[str, ...]]:
    """Return the tasks with the parameters that were chosen last for each, and notes on those for which none were.

    A study holds for models of the settings that it tried to improve: of the same algorithm, label, features and so on.
    What was chosen for a series goes before what was chosen for all.

    Raises:
        ConfigError: models are pooled; studies are about models of one series.
        RegistryError: the studies cannot be read.
    """
    if "symbol" not in config.model_trainer.group_by:
        raise ConfigError(
            "models over many series cannot be trained with what was tuned on single ones: leave out --tuned"
        )
    winners = read_winners(open_registry(config))
    found: list[Task] = []
    missing: list[Key] = []
    others: list[Key] = []
    for task in tasks:
        candidates = [winners[key] for key in (task.key, fleet_key(task.key)) if key in winners]
        winner = next((one for one in candidates if one.spec == task.spec.model_dump(mode="json")), None)
        if winner is None:
            (others if candidates else missing).append(task.key)
            found.append(task)
            continue
        spec = config.spec_of(task.key.model_type, winner.params)
        found.append(replace(task, spec=spec, tuning=winner.record()))
    return tuple(found), (
        *_notes(missing, "no study of them is finished"),
        *_notes(others, "studies were of other settings"),
    )


def _notes(keys: Iterable[Key], reason: str) -> tuple[str, ...]:
    stems = sorted({f"{key.model_type} {key.timeframe}" for key in keys})
    return (
        (f"{first_of(stems)}: trained with the default, {reason}; tune with the settings of this run",) if stems else ()
    )

"""Export to MLflow: a registered model per kind and timeframe, whose versions are those of all series.

What is logged is a pyfunc that `job.api.mlflow_model` loads: with the registry's own checks, in an environment that has
this project installed. MLflow's aliases hold for all versions of a registered model, so that the champion of a series
is called `champion-binance-BTCUSDT`.
"""

import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from job.core.environment import NUMERIC_LIBRARIES
from job.core.errors import ConfigError, RegistryError
from job.core.keys import Key
from job.core.paths import redact_url
from job.core.wording import on_one_line
from job.export.targets import Version
from job.registry.aliases import ALIASES, Alias, Aliases

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOADER: Final = "job.api.mlflow_model"
"""The module by which MLflow loads what is exported. It is named, not imported: it stands above this one."""
ADDRESS: Final = "MLFLOW_TRACKING_URI"
EXPERIMENT: Final = "MLFLOW_EXPERIMENT_NAME"
DEFAULT_EXPERIMENT: Final = "ohlcv-models"
ENVIRONMENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # a quarter of a minute; with MLflow's 7, minutes go by in silence
}
"""What MLflow takes from the environment of this process, unless it says otherwise."""
PLACE: Final = "model"
"""Where a version stands among the artifacts of its run."""
LONGEST_PARAM: Final = 500
MOST_LISTED: Final = 1_000
LONGEST_REASON: Final = 300


def connect(address: str | None) -> "Server":
    """Return the MLflow server at an address, default `MLFLOW_TRACKING_URI`.

    Raises:
        ConfigError: there is no address, or nothing answers there.
    """
    where = address or os.environ.get(ADDRESS)
    if not where:
        raise ConfigError(f"export to mlflow: name the server with --server URL, or set {ADDRESS}")
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from mlflow import MlflowClient  # noqa: PLC0415 - an optional library, which takes seconds to import
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        client = MlflowClient(where, registry_uri=where)
        client.search_registered_models(max_results=1)
    except MlflowException as error:
        raise ConfigError(
            f"no MLflow server at {redact_url(where)}: {_reason(error)}; start one, or correct --server or {ADDRESS}"
        ) from None
    return Server(client, redact_url(where))


class Server:
    """A connected MLflow server, with what was found of each registered model that was asked for."""

    def __init__(self, client: "MlflowClient", where: str) -> None:
        self._client = client
        self._where = where
        self._numbers: dict[str, dict[tuple[str, str, str], tuple[str, str]]] = {}
        self._aliases: dict[str, dict[str, str]] = {}
        self._registered: set[str] = set()

    def add(self, version: Version, *, dry_run: bool) -> str | None:
        """Log a version in a run of its own, with its scores, then register it, with all its tags at once.

        As `Target` has it: where there is one of its name, the digest of its metadata is all that comes of it.
        """
        key, scores = version.key, version.metadata.get("scores") or {}
        series = key.exchange, key.symbol, version.name
        with self._errors():
            known = self._known(key.stem)
            if series in known or dry_run:
                return known[series][1] if series in known else None
            run = self._client.create_run(self._experiment, run_name=f"{key.exchange}/{key.symbol} {version.name}")
            number = run.info.run_id
            with tempfile.TemporaryDirectory() as folder:
                _save(version, Path(folder))
                self._client.log_artifacts(number, str(Path(folder) / PLACE), PLACE)
            for name, value in scores.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    self._client.log_metric(number, name, float(value))
            for name, value in _params(version.metadata).items():
                self._client.log_param(number, name, value)
            self._client.set_terminated(number)
            if key.stem not in self._registered:
                self._client.create_registered_model(key.stem)
                self._registered.add(key.stem)
            tags = {**asdict(key), "version": version.name, "metadata_sha256": version.sha256}
            made = self._client.create_model_version(key.stem, f"runs:/{number}/{PLACE}", number, tags=tags)
        known[series] = str(made.version), version.sha256
        return None

    def set_aliases(self, key: Key, aliases: Aliases) -> None:
        """Let MLflow's aliases of a series name the exported versions that the registry's name, and no others."""
        with self._errors():
            known = self._known(key.stem)
            current = self._aliases[key.stem]
            for alias in ALIASES:
                name = alias_name(alias, key)
                number, _ = known.get((key.exchange, key.symbol, aliases.named(alias) or ""), (None, None))
                if number is not None and current.get(name) != number:
                    self._client.set_registered_model_alias(key.stem, name, number)
                    current[name] = number
                elif number is None and name in current:
                    self._client.delete_registered_model_alias(key.stem, name)
                    del current[name]

    def _known(self, model: str) -> dict[tuple[str, str, str], tuple[str, str]]:
        """Return MLflow's number and our digest of each version that a registered model has; none if there is none."""
        if model in self._numbers:
            return self._numbers[model]
        (*found,) = self._client.search_registered_models(f"name = '{model}'")
        aliases = self._client.get_registered_model(model).aliases if found else {}
        self._aliases[model] = {alias: str(number) for alias, number in aliases.items()}
        self._registered |= {model} if found else set()
        known, token = {}, None
        while True:
            page = self._client.search_model_versions(f"name = '{model}'", MOST_LISTED, page_token=token)
            for one in page:
                if "metadata_sha256" in one.tags and one.status == "READY":
                    series = one.tags["exchange"], one.tags["symbol"], one.tags["version"]
                    known[series] = str(one.version), one.tags["metadata_sha256"]
            token = page.token
            if not token:
                break
        return self._numbers.setdefault(model, known)

    @cached_property
    def _experiment(self) -> str:
        """MLflow's number of the experiment that the runs belong to; it is made if it is not there."""
        name = os.environ.get(EXPERIMENT, DEFAULT_EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        number: str = self._client.create_experiment(name) if found is None else found.experiment_id
        return number

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - as above

        try:
            yield
        except MlflowException as error:
            raise RegistryError(f"MLflow at {self._where}: {_reason(error)}") from None


def alias_name(alias: Alias, key: Key) -> str:
    """Return MLflow's name for an alias of a series: `champion-binance-BTC_2F_USDT`; equal only for equal series.

    Everything but ASCII letters and digits is written as its code points in hexadecimal.
    """
    plain = (re.sub("[^A-Za-z0-9]", lambda one: f"_{ord(one[0]):X}_", part) for part in (key.exchange, key.symbol))
    return "-".join((alias, *plain))


def _save(version: Version, folder: Path) -> None:
    """Write a version as a pyfunc into `folder/PLACE`; its files stand side by side, as MLflow would decode `%2F`."""
    from mlflow import pyfunc  # noqa: PLC0415 - as above

    data = folder / "version"
    data.mkdir()
    for name, content in version.files.items():
        (data / name).write_bytes(content)
    libraries: Mapping[str, str] = version.metadata.get("library_versions") or {}
    needed = [f"{name}=={libraries[name]}" for name in libraries if name not in {"python", "code"}]
    pyfunc.save_model(
        folder / PLACE,
        loader_module=LOADER,
        data_path=data,
        pip_requirements=needed or [*NUMERIC_LIBRARIES],
        metadata={**asdict(version.key), "version": version.name},
    )


def _params(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return what a run's page shows of how its model was made."""
    algorithm, label = metadata.get("algorithm") or {}, metadata.get("label") or {}
    data = metadata.get("data") or {}
    shown = {
        "algorithm": algorithm.get("name"),
        **(metadata.get("parameters") or {}),
        "label": label.get("definition"),
        "features": len(metadata.get("features") or ()),
        "first_bar": data.get("first_bar"),
        "last_bar": data.get("last_bar"),
        "fingerprint": metadata.get("fingerprint"),
    }
    return {name: str(value)[:LONGEST_PARAM] for name, value in shown.items() if value is not None}


def _reason(error: Exception) -> str:
    reason = redact_url(on_one_line(error))
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"

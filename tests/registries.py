"""Stores of every kind for tests, a real S3 server, and one small fitted model of every algorithm."""

import importlib.util
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from job.core.keys import Key
from job.learning.estimators import ALGORITHMS
from job.registry.versions import LATEST, list_versions, read_metadata
from job.storage.files import MissingFileError, Storage

KINDS = ("file", "memory", pytest.param("s3", marks=pytest.mark.slow))
KEY = Key("binance", "BTC/USDT:USDT", "1h", "analyst")
VERSION = "analyst_1h_20231201_120000_a1b2c3"
BUCKET = "models"
SECRET = "s3cr3t-of-the-test"

ESTIMATORS: dict[str, Any] = {
    "random_forest": RandomForestClassifier(20, max_depth=6, random_state=1),
    "extra_trees": ExtraTreesClassifier(20, max_depth=6, random_state=1),
    "gradient_boosting": GradientBoostingClassifier(n_estimators=10, random_state=1),
    "gradient_boosting_exponential": GradientBoostingClassifier(n_estimators=10, loss="exponential", random_state=1),
    "hist_gradient_boosting": HistGradientBoostingClassifier(max_iter=10, early_stopping=False, random_state=1),
    "logistic_regression": LogisticRegression(C=1e-3),
    "scaler": StandardScaler(),
}
NATIVE: Final = ("lightgbm", "xgboost")
"""Algorithms with formats of their own; their libraries are imported by `fitted`."""


def find_version(registry: Storage, key: Key, version: str = LATEST) -> dict[str, Any] | None:
    """Return the metadata of a version, None if there is none."""
    if version == LATEST:
        names = list_versions(registry, key)
        return read_metadata(registry, key, names[-1]) if names else None
    try:
        return read_metadata(registry, key, version)
    except MissingFileError:
        return None


def samples(rows: int = 2_000) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return seeded features and a label that the first of them half explains."""
    rng = np.random.default_rng(7)
    features = rng.normal(size=(rows, 19)).astype(np.float32)
    return features, (features[:, 0] + rng.normal(size=rows) > 0).astype(np.int8)


@cache
def fitted(name: str) -> Any:
    """Return the estimator of that name, fitted on `samples`; shared, so not to be changed."""
    estimator: Any = ALGORITHMS[name].estimator(n_estimators=10) if name in NATIVE else ESTIMATORS[name]
    with threadpool_limits(1):  # as in training: some sums depend on the number of threads
        return estimator.fit(*samples())


def open_registry(kind: str, request: pytest.FixtureRequest) -> Storage:
    """Return an empty store of its own: a folder, memory, or a bucket of the server of fixture `s3_endpoint`."""
    if kind == "file":
        folder: Path = request.getfixturevalue("tmp_path")
        return Storage(str(folder / "store"))
    if kind == "memory":
        return Storage(f"memory://{secrets.token_hex(4)}")
    options = s3_options(request.getfixturevalue("s3_endpoint"))
    return Storage(f"s3://{BUCKET}/{secrets.token_hex(4)}", options=options)


def s3_options(endpoint: str) -> dict[str, Any]:
    """Return the options of a registry on the test's S3 server."""
    return {"key": "test", "secret": SECRET, "client_kwargs": {"endpoint_url": endpoint}}


@contextmanager
def s3_server() -> Iterator[str]:
    """Run moto's S3 server in a process of its own, with one bucket, and yield its endpoint.

    A subprocess, because importing moto emits warnings, which are errors here.
    """
    for package in ("moto", "s3fs"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is absent, which the tests on a real S3 server need")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    endpoint = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(endpoint)
        fsspec.filesystem("s3", **s3_options(endpoint)).call_s3("create_bucket", Bucket=BUCKET)
        yield endpoint
    finally:
        server.terminate()
        server.wait()


def _wait_for(endpoint: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=1).close()
        except (URLError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return

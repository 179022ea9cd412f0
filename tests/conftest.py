"""Fixtures shared by all tests."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

# Ray reads both when it is imported: no token file in the home folder, no silent join of a cluster on this machine.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
# OpenMP reads it when it is imported: else threads that wait keep the cores from the tests beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import ray

from job.cluster.connect import running
from job.config.settings import RaySettings
from job.storage.files import Storage
from tests.forks import Fresh, fresh_processes
from tests.registries import KINDS, open_registry, s3_server

ROOT = Path(__file__).resolve().parents[1]
SHARED_RAY = ExitStack()
SHARING = set[Path]()
"""The files whose tests share a Ray."""

for size in ("COLUMNS", "LINES"):  # of a test process that runs beside others; tables are as wide as their own terminal
    os.environ.pop(size, None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real bars kept beside the project; tests that need it are skipped by name where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real bars are absent: ../shared/data")
    return folder


@pytest.fixture(scope="session")
def cases() -> Path:
    """Folder of small inputs as the world writes them; tests that need it are skipped by name where it is absent."""
    folder = ROOT.parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("cases are absent: ../shared/cases")
    return folder


@pytest.fixture(scope="module")
def local_ray() -> None:
    """One local Ray of two CPUs for the tests of a file, and of the next files that want one."""
    if not ray.is_initialized():
        SHARED_RAY.enter_context(running(RaySettings(num_cpus=2)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that share a Ray at the end, one after the other, since its start takes seconds."""
    SHARING.update(item.path for item in items if "local_ray" in getattr(item, "fixturenames", ()))
    items.sort(key=lambda item: item.path in SHARING)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Stop the shared Ray before a test of a file that does not use it."""
    if item.path not in SHARING:
        SHARED_RAY.close()


def pytest_sessionfinish() -> None:
    """Stop the shared Ray."""
    SHARED_RAY.close()


@pytest.fixture(scope="session")
def fresh() -> Iterator[Fresh]:
    """Runs scripts in processes that know nothing of tests."""
    with fresh_processes() as run:
        yield run


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Endpoint of a real S3 server."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(params=KINDS)
def registry(request: pytest.FixtureRequest) -> Storage:
    """An empty store, of every kind in turn."""
    return open_registry(request.param, request)


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Storage:
    """An empty store that takes no time."""
    return open_registry("memory", request)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not tested here, and what it would take."""
    reports = terminalreporter.getreports("skipped")
    reasons = Counter(one.longrepr[2] for one in reports if isinstance(one.longrepr, tuple))
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} skipped: {reason.removeprefix('Skipped: ')}")

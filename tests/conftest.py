"""Fixtures shared by all tests."""

import os
from pathlib import Path

# Ray reads both when it is imported: no token file in the home folder, no silent join of a cluster on this machine.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real bars kept beside the project; tests that need it are skipped by name where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real bars are absent: ../shared/data")
    return folder

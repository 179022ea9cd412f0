"""What this process runs on: the versions that decide a model's numbers, and the machine."""

import hashlib
import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
"""The folder that holds `job` and `transforms`: the project's, a copy that Ray made of it, or `site-packages`."""

PACKAGED_SAMPLE: Final = ROOT / "job" / "sample"
"""Where a wheel puts the bundled sample; the repository has it in `data/`, which Ray is not given."""
INSTALLED: Final = PACKAGED_SAMPLE.is_dir()
"""Whether this is the installed package: its environment finds it anyway, and `ROOT` holds other packages, too."""
BUNDLED_SAMPLE: Final = PACKAGED_SAMPLE if INSTALLED else ROOT / "data" / "sample"

NUMERIC_LIBRARIES: Final = ("polars", "numpy", "scipy", "scikit-learn")
"""Libraries whose versions can change a model's numbers."""


@cache
def versions(*optional: str) -> dict[str, str]:
    """Return the versions of Python, of the numeric libraries and of this code; equal on all nodes of a run.

    Included are the `optional` libraries that are installed, which only some models depend on.
    """
    libraries = {name: version(name) for name in (*NUMERIC_LIBRARIES, *filter(installed, optional))}
    return {"python": platform.python_version(), **libraries, "code": code_digest("job", "transforms")}


@cache
def installed(library: str) -> str | None:
    """Return the version of a library, None where it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


@cache
def code_digest(*places: str) -> str:
    """Return 12 hex digits of the SHA-256 over the Python files at `places`, folders or files below the root."""
    digest = hashlib.sha256()
    for place in places:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


@cache
def cpu_model() -> str:
    """Return the processor's marketing name, which decides the last bits of some sums."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

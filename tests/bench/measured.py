"""`job/main.py` in a process that notes its own peak memory, and whose workers note the CPU seconds of their fits.

BENCH_FIGURES=DIR python -m tests.bench.measured [the arguments of job/main.py]

Nothing else differs: the last step of the pipeline is wrapped, and the wrapper reads a clock.
"""

import os
import sys
from pathlib import Path
from typing import Final
from unittest.mock import patch

from job.cli import main
from job.train import steps
from job.worker.memory import peak_mb
from tests.bench.fits import FIGURES, train_models

DRIVER: Final = "driver"
"""Name of the driver's note."""

if __name__ == "__main__":
    with patch.object(steps, "train_models", train_models):
        status = main(sys.argv[1:])
    Path(os.environ[FIGURES], DRIVER).write_text(str(peak_mb()), encoding="ascii")
    sys.exit(status)

"""Entry point: `python job/main.py [train|plan|doctor|synth] …`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Python puts job/ first on the path: the root stands there instead, so that the packages `job` and `transforms` are
# found from any folder, and no file in job/ shadows a library.
if sys.path and Path(sys.path[0]).resolve() == ROOT / "job":
    sys.path[0] = str(ROOT)

from job.commands import main  # noqa: E402 - the path must be right first

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

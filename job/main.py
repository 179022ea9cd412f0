"""Entry point: `python job/main.py [train|plan|doctor|predict|compare|models|reindex|synth] …`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Python puts job/ first on the path: the root stands there instead, so that the packages `job` and `transforms` are
# found from any folder, and no file in job/ shadows a library.
if sys.path and Path(sys.path[0]).resolve() == ROOT / "job":
    sys.path[0] = str(ROOT)

try:
    from job.cli import main
except KeyboardInterrupt:  # Ctrl-C in the second that the imports take
    sys.stderr.write("interrupted\n")
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
